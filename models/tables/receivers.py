"""Receivers of webhooks, a tenant's hosts, and how they answered lately: the table."""

from datetime import datetime

from sqlalchemy import Boolean, Column, Index, Integer, SmallInteger
from sqlmodel import Field, SQLModel

from models.tables.columns import Time, id_column, now_column


class Receiver(SQLModel, table=True):
    """One host of one tenant's webhooks; a host that was never tried has no row.

    Another tenant's webhooks to the same host have a row of their own, so that no tenant can close
    a host to others.
    """

    __tablename__ = "receiver"
    __table_args__ = (Index("receiver_by_time", "seen_at"),)
    tenant: str = Field(sa_column=id_column(primary_key=True))
    host: str = Field(sa_column=id_column(primary_key=True))
    #: Failed tries since the last answer: no answer, a 5xx or a 429.
    failures: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: How often its breaker has opened since the last answer; each time it stays open for longer.
    trips: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: Until when nothing is sent to it; then one delivery probes it. NULL: its breaker is closed.
    open_until: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Whether its last answer came quickly.
    is_prompt: bool = Field(sa_column=Column(Boolean, nullable=False))
    seen_at: datetime | None = Field(default=None, sa_column=now_column())
