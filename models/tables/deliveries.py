"""Webhook deliveries and their tries: the tables."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import UUID
from sqlmodel import Field, SQLModel

from models.state import DeliveryState
from models.tables.columns import Time, id_column, now_column, one_of


class Delivery(SQLModel, table=True):
    """One webhook event and its delivery: rendered once, with the same bytes at every try."""

    __tablename__ = "delivery"
    __table_args__ = (
        one_of("state", DeliveryState),
        UniqueConstraint("job", "type", name="event_once_per_job"),
        UniqueConstraint("batch", "type", name="event_once_per_batch"),
        Index("delivery_by_tenant", "tenant", "id"),
        Index(
            "delivery_of_nothing",
            "finished_at",
            postgresql_where=text("job IS NULL AND batch IS NULL"),
        ),
    )
    #: Also the `webhook-id`.
    id: str = Field(sa_column=id_column(primary_key=True))
    #: The job or batch that the event belongs to; both are NULL for one that belongs to neither.
    job: str | None = Field(default=None, sa_column=id_column(references="job.id", nullable=True))
    batch: str | None = Field(
        default=None, sa_column=id_column(references="batch.id", nullable=True)
    )
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    type: str
    #: The receiver's host: the lane, so that a dead receiver slows down only its own deliveries.
    host: str
    state: DeliveryState = Field(sa_column=Column(Text, nullable=False))
    tries: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: Whether a replay was requested while a try was under way: one more try follows it.
    replay_wanted: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )
    #: Encrypted {"url", "secret"}, and the encrypted body.
    target: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    finished_at: datetime | None = Field(default=None, sa_column=Column(Time))


class DeliveryTry(SQLModel, table=True):
    """One POST of a delivery and its result."""

    __tablename__ = "delivery_try"
    __table_args__ = (
        UniqueConstraint("delivery", "number", name="try_number_once"),
        UniqueConstraint("token", name="try_recorded_once"),
    )
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True))
    delivery: str = Field(sa_column=id_column(references="delivery.id"))
    number: int
    at: datetime | None = Field(default=None, sa_column=now_column())
    status: int | None = None
    error: str | None = None
    milliseconds: int
    #: Unique per POST, so that a repeated commit records it once.
    token: str | None = Field(default=None, sa_column=Column(UUID(as_uuid=True)))
