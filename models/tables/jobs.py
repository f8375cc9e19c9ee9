"""Jobs, their events and Idempotency-Keys: the tables."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.state import JobState
from models.tables.columns import Id, Time, id_column, now_column, one_of


class Job(SQLModel, table=True):
    """One request for one or more videos, with one final state."""

    __tablename__ = "job"
    __table_args__ = (
        one_of("state", JobState),
        CheckConstraint("progress_percent BETWEEN 0 AND 100", name="progress_in_range"),
        Index("job_by_tenant", "tenant", "id"),
        Index(
            "job_by_batch",
            "batch_id",
            "batch_line",
            unique=True,
            postgresql_where=text("batch_id IS NOT NULL"),
        ),
        # Of columns that only a job's end sets: before it, no update of the row adds entries.
        Index("job_by_end", "finished_at", "id", postgresql_where=text("finished_at IS NOT NULL")),
        Index(
            "job_by_tenant_end",
            *("tenant", "finished_at"),
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        # Lists by status, which look for few among many.
        Index("job_unfinished", "tenant", "id", postgresql_where=text("finished_at IS NULL")),
        Index("job_with_error", "tenant", "id", postgresql_where=text("error IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 80}},
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    tenant: str = Field(sa_column=id_column(references="tenant.id"))
    app_id: str | None = None
    #: The id of the key that it was submitted with; NULL for one that came over the broker.
    api_key: str | None = Field(default=None, sa_column=Column(Id))
    #: Shown in every view.
    request_id: str
    #: The job that it retries, which may be deleted before it.
    retry_of: str | None = Field(default=None, sa_column=Column(Id))
    #: The batch that it is a line of, its line, and the caller's name for it.
    batch_id: str | None = Field(default=None, sa_column=Column(Id))
    batch_line: int | None = None
    custom_id: str | None = None
    state: JobState = Field(sa_column=Column(Text, nullable=False))
    #: The model as named by the caller, and the request without its sealed fields.
    model: str
    prompt: str = Field(sa_column=Column(Text, nullable=False))
    request: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    #: The request's metadata as JSON text: jsonb keeps neither the order of keys nor how a number
    #: was written. NULL for a job of an older version, whose `request` has it.
    metadata_text: str | None = Field(default=None, sa_column=Column(Text))
    #: The first attempts' route, and the encrypted scene, whose pictures may be signed links; those
    #: that were sent as data URIs are in the table `picture`.
    plan: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    scene: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    #: The gate's id; kept when the gate is deleted.
    gate: str | None = Field(default=None, sa_column=Column(Id))
    #: The plans of the gate's other models by number, from "1", in the order of their turns.
    fallbacks: dict[str, Any] | None = Field(
        default=None, sa_column=Column(JSONB(none_as_null=True))
    )
    progress_percent: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: `reported` by the provider or `estimated` by us.
    progress_source: str = "estimated"
    #: Typical duration of such a video's operation, in seconds.
    typical_seconds: float
    #: A Failure as JSON, if the job failed or was cancelled.
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    estimated_cost_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    #: What the ledger reserved at submission: the most that the caller can be charged. 0 for a job
    #: that was accepted by a version without a ledger.
    reserved_micros: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )
    #: The caller's charge; set with the final state.
    cost_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    unknown_policy: str
    #: Encrypted {"url", "secret"} of the webhook.
    webhook: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    run_at: datetime | None = Field(default=None, sa_column=Column(Time))
    deadline_at: datetime = Field(sa_column=Column(Time, nullable=False))
    #: Latest time for a provider to accept it.
    start_by: datetime | None = Field(default=None, sa_column=Column(Time))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    accepted_at: datetime | None = Field(default=None, sa_column=Column(Time))
    finished_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When its owner deleted it: from then on nobody is shown it.
    deleted_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When nothing of its content was left; the row stays for its times and its cost.
    erased_at: datetime | None = Field(default=None, sa_column=Column(Time))


class Event(SQLModel, table=True):
    """One event in a job's history: a transition or another occurrence."""

    __tablename__ = "event"
    __table_args__ = (Index("event_by_job", "job", "id"),)
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True))
    job: str = Field(sa_column=id_column(references="job.id"))
    at: datetime | None = Field(default=None, sa_column=now_column())
    #: The new state, or the occurrence: `attempt.unknown`, `status.undocumented`, …
    kind: str
    detail: dict[str, Any] = Field(
        default_factory=dict, sa_column=Column(JSONB, nullable=False, server_default="{}")
    )


class Idempotency(SQLModel, table=True):
    """A caller's Idempotency-Key and the first response to it, of a job or a batch."""

    __tablename__ = "idempotency"
    __table_args__ = (
        CheckConstraint("num_nonnulls(job, batch) = 1", name="one_thing"),
        Index("idempotency_by_job", "job", postgresql_where=text("job IS NOT NULL")),
        Index("idempotency_by_batch", "batch", postgresql_where=text("batch IS NOT NULL")),
        Index("idempotency_by_time", "created_at"),
    )
    tenant: str = Field(
        sa_column=Column(Id, ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    )
    key: str = Field(sa_column=Column(Id, primary_key=True))
    #: SHA-256 of the body as canonical JSON; of a batch, of its bytes.
    body_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    job: str | None = Field(default=None, sa_column=id_column(references="job.id", nullable=True))
    batch: str | None = Field(
        default=None, sa_column=id_column(references="batch.id", nullable=True)
    )
    #: The first 202 response, encrypted; repeats get the same.
    response: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
