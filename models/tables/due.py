"""Due rows: the table."""

from datetime import datetime

from sqlalchemy import Column, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import UUID
from sqlmodel import Field, SQLModel

from models.tables.columns import Id, Time
from models.verbs import What

_IN_TURNS = text("what IN ('deliver', 'prepare')")


class Due(SQLModel, table=True):
    """One unfinished thing: everything unfinished has exactly one due row."""

    __tablename__ = "due"
    __table_args__ = (
        Index("due_by_lane", "what", "lane", "at"),
        Index("due_by_tenant", "what", "lane", "tenant", "at"),
        # Kinds with shared lanes: a tenant's, whatever their lanes, and its lanes
        # (`scheduler.turns`). The literals equal `scheduler.claim.SHARED_LANES`.
        Index("due_in_turns", "what", "tenant", "at", postgresql_where=_IN_TURNS),
        Index(
            "due_in_turns_by_lane", *("what", "tenant", "lane", "at"), postgresql_where=_IN_TURNS
        ),
        # Suspects, which are claimed alone; the literal equals `scheduler.claim.SUSPECT`.
        Index("due_suspects", "what", "lane", "at", postgresql_where=text("tries >= 3")),
        # Parked rows, which `doctor` lists; the literal equals `models.due.PARKED_FAULTS`.
        Index("due_parked", "what", "id", postgresql_where=text("faults >= 5")),
        {
            "postgresql_with": {
                # Every poll rewrites its row twice, so vacuum early and often.
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0.01,
                "autovacuum_vacuum_threshold": 1000,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
    )
    what: What = Field(sa_column=Column(Id, primary_key=True))
    id: str = Field(sa_column=Column(Id, primary_key=True))
    #: The unit of limits and fairness: an account, a receiver's host, or "-".
    lane: str = Field(sa_column=Column(Id, nullable=False))
    tenant: str = Field(sa_column=Column(Id, nullable=False))
    #: When it is due or, while leased, when its lease ends: one index serves both.
    at: datetime = Field(sa_column=Column(Time, nullable=False, server_default=text("now()")))
    #: The lease holder's fencing token.
    lease: str | None = Field(default=None, sa_column=Column(UUID(as_uuid=True)))
    #: Claims since the last write-back; from three on it is a suspect, and claimed alone.
    tries: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: Consecutive failures of our own work on it; each lengthens the next wait.
    faults: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
