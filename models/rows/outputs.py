"""Outputs: the rows that are read and inserted."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime

from models.records import Json
from models.state import OutputState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOutput:
    """An output as intake inserts it."""

    id: str
    job: str
    attempt: str
    position: int
    state: OutputState


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRow:
    """An output as views read it, aggregated into its job's row."""

    id: str
    position: int
    #: An OutputState, or a state that only a newer version knows.
    state: str
    sha256: str | None
    bytes: int | None
    content_type: str | None
    duration_seconds: float | None
    width: int | None
    height: int | None
    fps: float | None
    stills_bytes: int | None
    error: Json | None
    recovered_at: datetime | None
    deleted_at: datetime | None

    @property
    def is_deleted(self) -> bool:
        """Whether retention has deleted the stored video."""
        return self.deleted_at is not None

    @classmethod
    def from_json(cls, values: Json) -> "OutputRow":
        """The row from `to_jsonb(output)`, whose times are text in the connection's time zone."""
        named = {each.name: values[each.name] for each in fields(cls)}
        times = {name: _moment(named[name]) for name in ("recovered_at", "deleted_at")}
        return cls(**named | times)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
