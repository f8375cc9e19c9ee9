"""Webhook deliveries and their tries: the tables, and the rows that are read and inserted."""

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

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

from models.records import Json
from models.rows.columns import Time, id_column, now_column, one_of
from models.state import DeliveryState


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery as it is inserted."""

    id: str
    job: str | None
    batch: str | None
    tenant: str
    type: str
    host: str
    state: DeliveryState
    target: bytes = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery as it is read, without its body."""

    id: str
    job: str | None
    batch: str | None
    tenant: str
    type: str
    host: str
    #: A DeliveryState, or a state that only a newer version knows.
    state: str
    replay_wanted: bool
    target: bytes = field(repr=False)
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TryRow:
    """A try as it is read, aggregated into its delivery's row."""

    number: int
    at: datetime
    status: int | None
    error: str | None
    milliseconds: int

    @classmethod
    def from_json(cls, values: Json) -> "TryRow":
        """The row from `to_jsonb(try)`, whose time is text in the connection's time zone."""
        named = {each.name: values[each.name] for each in fields(cls)}
        return cls(**named | {"at": datetime.fromisoformat(named["at"]).astimezone(UTC)})
