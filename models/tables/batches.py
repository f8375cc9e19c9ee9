"""Batches and the changes of their counts: the tables."""

from datetime import datetime
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

from models.rows.batches import BatchState
from models.tables.columns import Id, Time, id_column, now_column, one_of


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
    #: Its cancel has ended the lines up to this one.
    cancelled_to: int = Field(default=0, sa_column=_count())
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
