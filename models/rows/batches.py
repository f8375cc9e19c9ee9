"""Batches and the changes of their counts: the tables, and the rows that are read and inserted."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.records import Json
from models.rows.columns import Id, Time, id_column, now_column, one_of


class BatchState(StrEnum):
    """A batch's state; a final one never changes."""

    #: Some of its lines have not ended.
    IN_PROGRESS = "in_progress"
    #: All lines have ended, at least one of them complete. Final.
    COMPLETED = "completed"
    #: All lines have ended, and none is complete. Final.
    FAILED = "failed"
    #: A cancel was asked for, and ended at least one line. Final.
    CANCELLED = "cancelled"


def _count() -> Column[int]:
    return Column(Integer, nullable=False, server_default="0")


def _money() -> Column[int]:
    return Column(BigInteger, nullable=False, server_default="0")


class Batch(SQLModel, table=True):
    """Many requests that were submitted together, each of them a job: a line.

    Its counts are those of this row plus the sum of its rows in `batch_change`.
    """

    __tablename__ = "batch"
    __table_args__ = (
        one_of("state", BatchState),
        CheckConstraint("(state = 'in_progress') = (finished_at IS NULL)", name="final_has_time"),
        Index("batch_by_tenant", "tenant", "id"),
        Index("batch_by_end", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    app_id: str | None = None
    #: The id of the key that it was submitted with; NULL for one that came over the broker.
    api_key: str | None = Field(default=None, sa_column=Column(Id))
    name: str | None = None
    state: BatchState = Field(sa_column=Column(Text, nullable=False))
    #: The batch whose failed lines it retries, which may be deleted before it.
    retry_of: str | None = Field(default=None, sa_column=Column(Id))
    #: The options without the webhook and what is sealed of the defaults.
    options: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    #: Its metadata as JSON text, as of a job; NULL for a batch of an older version, too.
    metadata_text: str | None = Field(default=None, sa_column=Column(Text))
    #: Encrypted {"url", "secret"} of the webhook that tells of its end.
    webhook: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: Lines that became jobs.
    lines: int
    #: Invalid lines that were left out.
    invalid: int = Field(default=0, sa_column=_count())
    #: The first of these: line, custom_id, param, code, message.
    errors: list[Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    #: Jobs by public status.
    pending: int = Field(default=0, sa_column=_count())
    processing: int = Field(default=0, sa_column=_count())
    complete: int = Field(default=0, sa_column=_count())
    failed: int = Field(default=0, sa_column=_count())
    cancelled: int = Field(default=0, sa_column=_count())
    #: Jobs that were released and have not ended.
    running: int = Field(default=0, sa_column=_count())
    #: The most that may run at a time; NULL for any number.
    concurrency: int | None = None
    #: Lines up to this one were released.
    released_to: int = Field(default=0, sa_column=_count())
    estimated_cost_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    #: What its unfinished lines hold, and what the others were charged, by the ledger.
    reserved_micros: int = Field(default=0, sa_column=_money())
    charged_micros: int = Field(default=0, sa_column=_money())
    deadline_at: datetime = Field(sa_column=Column(Time, nullable=False))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    #: When its owner asked for its cancel.
    cancelled_at: datetime | None = Field(default=None, sa_column=Column(Time))
    finished_at: datetime | None = Field(default=None, sa_column=Column(Time))


class BatchChange(SQLModel, table=True):
    """How one transaction changed a batch's counts; folded into its row within seconds."""

    __tablename__ = "batch_change"
    __table_args__ = (Index("batch_change_by_batch", "batch", "id"),)
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True))
    batch: str = Field(sa_column=id_column(references="batch.id"))
    pending: int = Field(default=0, sa_column=_count())
    processing: int = Field(default=0, sa_column=_count())
    complete: int = Field(default=0, sa_column=_count())
    failed: int = Field(default=0, sa_column=_count())
    cancelled: int = Field(default=0, sa_column=_count())
    running: int = Field(default=0, sa_column=_count())
    reserved_micros: int = Field(default=0, sa_column=_money())
    charged_micros: int = Field(default=0, sa_column=_money())


#: The columns of a batch that its changes are added to.
COUNTS = tuple(name for name in BatchChange.model_fields if name not in {"id", "batch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownAtIntake:
    """The columns of a batch that intake sets and everyone may read."""

    id: str
    tenant: str
    app_id: str | None
    name: str | None
    #: A BatchState.
    state: str
    retry_of: str | None
    options: Json
    metadata_text: str | None
    webhook: bytes | None = field(repr=False)
    lines: int
    invalid: int
    errors: list[Json] | None
    concurrency: int | None
    estimated_cost_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch(_KnownAtIntake):
    """A batch as intake inserts it; the statement computes its deadline."""

    api_key: str | None
    pending: int
    running: int
    released_to: int
    reserved_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow(_KnownAtIntake):
    """A batch as it is read, with the counts that are folded into its row."""

    api_key: str | None
    pending: int
    processing: int
    complete: int
    failed: int
    cancelled: int
    running: int
    released_to: int
    reserved_micros: int
    charged_micros: int
    deadline_at: datetime
    created_at: datetime
    cancelled_at: datetime | None
    finished_at: datetime | None

    @property
    def metadata(self) -> Json | None:
        """What its owner gave it, as it was given."""
        if self.metadata_text is None:
            return self.options.get("metadata")
        own: Json = json.loads(self.metadata_text)
        return own
