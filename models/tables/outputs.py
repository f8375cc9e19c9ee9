"""Outputs: the table."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
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

from models.state import OutputState
from models.tables.columns import Time, id_column, one_of


class Output(SQLModel, table=True):
    """One requested video."""

    __tablename__ = "output"
    __table_args__ = (
        one_of("state", OutputState),
        UniqueConstraint("job", "position", name="output_position_once"),
        Index("output_by_attempt", "attempt"),
        Index("output_by_storing", "stored_at", postgresql_where=text("key IS NOT NULL")),
        # Of a column that an operation's end leaves alone, so that it adds no entries to any index.
        Index(
            "output_with_kept_link",
            "link_kept_at",
            postgresql_where=text("link_kept_at IS NOT NULL"),
        ),
        # A row is three times as long when its video is stored, and rows of a batch end together.
        {"postgresql_with": {"fillfactor": 40}},
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
    #: `source_at` of a link that outlives its failed download, so that a recovery can use it.
    link_kept_at: datetime | None = Field(
        default=None,
        sa_column=Column(
            Time,
            Computed(
                "CASE WHEN state = 'failed' AND source IS NOT NULL THEN source_at END",
                persisted=True,
            ),
        ),
    )
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
    #: Bytes of its stills, which are stored beside it; 0: none can be made; NULL: not tried yet.
    stills_bytes: int | None = Field(default=None, sa_column=Column(Integer))
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    stored_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When an operator requested it after its job's end; NULL again once that is done.
    recovery_asked_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When it was stored on such a request, at no charge.
    recovered_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When retention deleted the stored object.
    deleted_at: datetime | None = Field(default=None, sa_column=Column(Time))
