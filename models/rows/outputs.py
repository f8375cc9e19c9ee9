"""Outputs: the table, and the rows that are read and inserted."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.records import Json
from models.rows.columns import Time, id_column, one_of
from models.state import OutputState


class Output(SQLModel, table=True):
    """One requested video."""

    __tablename__ = "output"
    __table_args__ = (
        one_of("state", OutputState),
        UniqueConstraint("job", "position", name="output_position_once"),
        Index("output_by_attempt", "attempt"),
        Index("output_by_storing", "stored_at", postgresql_where=text("key IS NOT NULL")),
        Index(
            "output_with_kept_link",
            "source_at",
            postgresql_where=text("state = 'failed' AND source IS NOT NULL"),
        ),
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    job: str = Field(sa_column=id_column(references="job.id"))
    attempt: str = Field(sa_column=id_column(references="attempt.id"))
    #: Index within the job, from 0.
    position: int = Field(sa_column=Column(SmallInteger, nullable=False))
    state: OutputState = Field(sa_column=Column(Text, nullable=False))
    #: The provider's link, encrypted, because it grants access to the video.
    source: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: When the provider last returned the link, which is the start of its lifetime.
    source_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Number of failed downloads.
    faults: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    key: str | None = None
    sha256: str | None = None
    bytes: int | None = Field(default=None, sa_column=Column(BigInteger))
    content_type: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    stored_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When an operator requested it after its job's end; NULL again once that is done.
    recovery_asked_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When it was stored on such a request, at no charge.
    recovered_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When retention deleted the stored object.
    deleted_at: datetime | None = Field(default=None, sa_column=Column(Time))


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
