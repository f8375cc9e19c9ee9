"""Processes that watch operations, and what they are told: the tables."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field, SQLModel

from models.tables.columns import Id, Time, now_column


class Holder(SQLModel, table=True):
    """A process that watches operations; its id is the lease of their due rows."""

    __tablename__ = "holder"
    # Its row is written every few seconds, and no index reads what is.
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)
    id: str = Field(sa_column=Column(UUID(as_uuid=True), primary_key=True))
    #: Its last heartbeat.
    beat: datetime | None = Field(default=None, sa_column=now_column())
    #: Seconds without a heartbeat after which it counts as dead.
    lives_for: float
    #: How many operations it watches, and how many more it would take.
    watched: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    room: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    #: Seconds by which its looks run late.
    late: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    #: By account: seconds, at the heartbeat, since it last reported on any operation.
    answered: dict[str, Any] = Field(
        default_factory=dict,
        sa_column=Column(JSONB, nullable=False, server_default="{}"),
    )
    #: When it was declared dead: it takes nothing from then on, and its rows are freed.
    dead_at: datetime | None = Field(default=None, sa_column=Column(Time))


class Pulse(SQLModel, table=True):
    """How steadily the tick runs: only a tick that was there can tell that a heartbeat was not."""

    __tablename__ = "pulse"
    __table_args__ = (CheckConstraint("one", name="one_pulse"),)
    one: bool = Field(
        default=True,
        sa_column=Column(Boolean, primary_key=True, server_default=text("true")),
    )
    at: datetime = Field(sa_column=Column(Time, nullable=False))
    #: Since when no two ticks were far apart.
    steady_since: datetime = Field(sa_column=Column(Time, nullable=False))


class Nudge(SQLModel, table=True):
    """Tells a holder that something happened to an operation that it watches."""

    __tablename__ = "nudge"
    __table_args__ = (Index("nudge_by_holder", "holder"),)
    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    holder: str = Field(sa_column=Column(UUID(as_uuid=True), nullable=False))
    #: The attempt.
    thing: str = Field(sa_column=Column(Id, nullable=False))
