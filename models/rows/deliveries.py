"""Webhook deliveries and their tries: the rows that are read and inserted."""

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

from models.records import Json
from models.state import DeliveryState


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
