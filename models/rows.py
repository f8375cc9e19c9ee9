"""The rows of the database, as SQLModel tables: the schema that migrations are checked against."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field, SQLModel

from models.state import AttemptState, DeliveryState, JobState, OutputState, What

#: Ids compare byte by byte: cheaper than a locale, and it is their order of birth.
_Id = Text(collation="C")
_Time = DateTime(timezone=True)


def _one_of(column: str, values: type) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


def _id_column(*, primary_key: bool = False, references: str | None = None) -> Column[str]:
    keys = [ForeignKey(references, ondelete="CASCADE")] if references else []
    return Column(_Id, *keys, primary_key=primary_key, nullable=False)


def _now_column() -> Column[datetime]:
    return Column(_Time, nullable=False, server_default=func.now())


class Tenant(SQLModel, table=True):
    """Who owns jobs: keys belong to tenants and rotate, jobs stay."""

    __tablename__ = "tenant"
    id: str = Field(sa_column=_id_column(primary_key=True))
    created_at: datetime | None = Field(default=None, sa_column=_now_column())


class ApiKey(SQLModel, table=True):
    """A bearer key; only its hash is kept."""

    __tablename__ = "api_key"
    id: str = Field(sa_column=_id_column(primary_key=True))
    tenant: str = Field(sa_column=_id_column(references="tenant.id"))
    #: SHA-256 of the whole key: keys have 160 random bits, so no slow hash is needed.
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    #: The first characters, to recognise it in a list.
    prefix: str
    is_admin: bool = False
    created_at: datetime | None = Field(default=None, sa_column=_now_column())
    revoked_at: datetime | None = Field(default=None, sa_column=Column(_Time))


class Job(SQLModel, table=True):
    """What a user asked for: one request, one or more videos, one final state."""

    __tablename__ = "job"
    __table_args__ = (
        _one_of("state", JobState),
        CheckConstraint("progress_percent BETWEEN 0 AND 100", name="progress_in_range"),
        Index("job_by_tenant", "tenant", "id"),
        {"postgresql_with": {"fillfactor": 80}},
    )
    id: str = Field(sa_column=_id_column(primary_key=True))
    tenant: str = Field(sa_column=_id_column(references="tenant.id"))
    app_id: str | None = None
    #: Given back at creation and in every later view.
    request_id: str
    state: JobState = Field(sa_column=Column(Text, nullable=False))
    #: The model as the caller named it, and the request without what is sealed elsewhere.
    model: str
    prompt: str = Field(sa_column=Column(Text, nullable=False))
    request: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    #: The resolved route, and, encrypted, the scene: its pictures may be signed links.
    plan: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    scene: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    progress_percent: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: Whether the provider reports progress or we estimate it.
    progress_source: str = "estimated"
    #: Seconds that such a video usually takes.
    typical_seconds: float
    #: A Failure as JSON once the job failed.
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    estimated_cost_micros: int = Field(sa_column=Column(BigInteger, nullable=False))
    #: What the caller is charged; set with the final state.
    cost_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    unknown_policy: str
    #: Encrypted {"url", "secret"} of the webhook.
    webhook: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    run_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    deadline_at: datetime = Field(sa_column=Column(_Time, nullable=False))
    #: When a provider must have accepted it, at the latest.
    start_by: datetime | None = Field(default=None, sa_column=Column(_Time))
    created_at: datetime | None = Field(default=None, sa_column=_now_column())
    accepted_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    finished_at: datetime | None = Field(default=None, sa_column=Column(_Time))


class Attempt(SQLModel, table=True):
    """One paid POST to one provider: the unit that must never happen twice."""

    __tablename__ = "attempt"
    __table_args__ = (
        _one_of("state", AttemptState),
        UniqueConstraint("account", "operation_id", name="operation_once_per_account"),
        Index("attempt_by_job", "job"),
        {"postgresql_with": {"fillfactor": 80}},
    )
    id: str = Field(sa_column=_id_column(primary_key=True))
    job: str = Field(sa_column=_id_column(references="job.id"))
    provider: str
    #: Pins the attempt to the credentials that it was planned for; also its lane.
    account: str
    #: Upstream model and length: what durations are learned for.
    route: str
    state: AttemptState = Field(sa_column=Column(Text, nullable=False))
    #: External id and callback token: what proves that an operation is this attempt's.
    marker: str = Field(sa_column=Column(_Id, nullable=False, unique=True))
    #: Videos that it is to make.
    count: int = Field(
        default=1, sa_column=Column(SmallInteger, nullable=False, server_default="1")
    )
    #: SHA-256 of method, path and body, committed just before the POST.
    payload_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: The newest answer that its POST may get, by the sender's own time-outs; NULL before `sent`.
    answer_by: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: A look-up that begins later and finds nothing may prove that there is nothing.
    absent_after: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: The public root of the callback address that went out with the POST; NULL when none did.
    callback_base: str | None = None
    #: SHA-256 of provider, base address and credentials: with others, finding nothing is no proof.
    sent_as: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: Names the one try of one worker that marked it as sent, and that alone may take it back.
    sent_by: str | None = Field(default=None, sa_column=Column(UUID(as_uuid=True)))
    #: Whole look-ups in a row that found nothing when that counted, and when the latest ended.
    negative_looks: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    negative_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: The attempt whose videos it took over.
    replaces: str | None = Field(default=None, sa_column=Column(_Id))
    #: POSTs that provably reached nobody or were refused for the moment.
    rejections: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    operation_id: str | None = Field(default=None, sa_column=Column(_Id))
    #: 0..1 as the provider reports it.
    progress: float | None = None
    polls: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: When a look last brought an update.
    seen_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: Since when its provider has denied the operation, with no update in between.
    denied_since: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: Polls in a row that brought no readable answer.
    poll_faults: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    #: Look-ups that did not settle it.
    look_ups: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: Cancels that failed.
    cancel_faults: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    #: Since when it is kept from being sent, because it may have been sent already: the database
    #: was restored to a time before. Stays when its operation is adopted; None once it is released.
    parked_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: Look-ups of a parked attempt that proved that the provider has nothing of it.
    parked_looks: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    #: What the provider charges us, as far as is known.
    cost_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    created_at: datetime | None = Field(default=None, sa_column=_now_column())
    sent_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    accepted_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    finished_at: datetime | None = Field(default=None, sa_column=Column(_Time))


class Output(SQLModel, table=True):
    """One video that was asked for, from expectation to our storage."""

    __tablename__ = "output"
    __table_args__ = (
        _one_of("state", OutputState),
        UniqueConstraint("job", "position", name="output_position_once"),
        Index("output_by_attempt", "attempt"),
        Index(
            "output_with_kept_link",
            "source_at",
            postgresql_where=text("state = 'failed' AND source IS NOT NULL"),
        ),
    )
    id: str = Field(sa_column=_id_column(primary_key=True))
    job: str = Field(sa_column=_id_column(references="job.id"))
    attempt: str = Field(sa_column=_id_column(references="attempt.id"))
    #: 0, 1, … within the job.
    position: int = Field(sa_column=Column(SmallInteger, nullable=False))
    state: OutputState = Field(sa_column=Column(Text, nullable=False))
    #: The provider's link, encrypted: it is a bearer capability.
    source: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: When the provider last told the link: its life is counted from here.
    source_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: Downloads that failed.
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
    stored_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: When an operator asked for it although its job had ended; unset again when that is settled.
    recovery_asked_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: When it was brought in so: after its job's end, and at no charge.
    recovered_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: When the stored object was deleted, being older than it was to be kept.
    deleted_at: datetime | None = Field(default=None, sa_column=Column(_Time))


class Event(SQLModel, table=True):
    """One thing that happened to a job; transitions are told by `state`."""

    __tablename__ = "event"
    __table_args__ = (Index("event_by_job", "job", "id"),)
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True))
    job: str = Field(sa_column=_id_column(references="job.id"))
    at: datetime | None = Field(default=None, sa_column=_now_column())
    #: The job's new state, or what else happened: `attempt.unknown`, `status.undocumented`, …
    kind: str
    detail: dict[str, Any] = Field(
        default_factory=dict, sa_column=Column(JSONB, nullable=False, server_default="{}")
    )


class Delivery(SQLModel, table=True):
    """One webhook event: rendered once, sent byte for byte at every try."""

    __tablename__ = "delivery"
    __table_args__ = (
        _one_of("state", DeliveryState),
        UniqueConstraint("job", "type", name="event_once_per_job"),
        Index("delivery_by_tenant", "tenant", "id"),
    )
    #: Also the `webhook-id`.
    id: str = Field(sa_column=_id_column(primary_key=True))
    job: str = Field(sa_column=_id_column(references="job.id"))
    tenant: str = Field(sa_column=_id_column(references="tenant.id"))
    type: str
    #: The lane: what a dead receiver may slow down.
    host: str
    state: DeliveryState = Field(sa_column=Column(Text, nullable=False))
    tries: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: Whether a replay was asked for while a try was under way: one more follows that one.
    replay_wanted: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default=false())
    )
    #: Encrypted {"url", "secret"}, and the encrypted body.
    target: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime | None = Field(default=None, sa_column=_now_column())
    finished_at: datetime | None = Field(default=None, sa_column=Column(_Time))


class DeliveryTry(SQLModel, table=True):
    """One POST of a delivery and what came of it."""

    __tablename__ = "delivery_try"
    __table_args__ = (
        UniqueConstraint("delivery", "number", name="try_number_once"),
        UniqueConstraint("token", name="try_recorded_once"),
    )
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True))
    delivery: str = Field(sa_column=_id_column(references="delivery.id"))
    number: int
    at: datetime | None = Field(default=None, sa_column=_now_column())
    status: int | None = None
    error: str | None = None
    milliseconds: int
    #: Made with the POST: one whose commit is repeated is recorded once.
    token: str | None = Field(default=None, sa_column=Column(UUID(as_uuid=True)))


class Idempotency(SQLModel, table=True):
    """A caller's Idempotency-Key and the first answer that it got."""

    __tablename__ = "idempotency"
    tenant: str = Field(
        sa_column=Column(_Id, ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    )
    key: str = Field(sa_column=Column(_Id, primary_key=True))
    #: SHA-256 of the body as canonical JSON.
    body_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    job: str = Field(sa_column=_id_column(references="job.id"))
    #: The first 202, encrypted, answered again word for word.
    response: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime | None = Field(default=None, sa_column=_now_column())


class IntakeFailure(SQLModel, table=True):
    """A dead letter: a request that came over the broker and could not be accepted, with why."""

    __tablename__ = "intake_failure"
    __table_args__ = (
        UniqueConstraint("task_id", name="intake_failure_once_per_task"),
        Index("intake_failure_by_tenant", "tenant", "id"),
        Index("intake_failure_by_time", "at"),
    )
    id: str = Field(sa_column=_id_column(primary_key=True))
    #: Of the Celery message: a redelivered one is told once.
    task_id: str = Field(sa_column=Column(_Id, nullable=False))
    #: As the message names it, known to us or not; null where it can't be told.
    tenant: str | None = Field(default=None, sa_column=Column(_Id))
    code: str = Field(sa_column=Column(Text, nullable=False))
    #: In words, without any value of the request that may be private.
    message: str = Field(sa_column=Column(Text, nullable=False))
    #: The field that is wrong.
    param: str | None = Field(default=None, sa_column=Column(Text))
    #: Encrypted {"args", "kwargs"}, or {"raw"} in base64; null where it is too large to keep.
    payload: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    at: datetime | None = Field(default=None, sa_column=_now_column())


class Duration(SQLModel, table=True):
    """How long a route's operations usually take, learned from those that succeeded."""

    __tablename__ = "duration"
    route: str = Field(sa_column=_id_column(primary_key=True))
    #: Seconds from acceptance to the end, at the 10th, 50th and 90th percentile.
    p10: float
    p50: float
    p90: float
    samples: int
    learned_at: datetime | None = Field(default=None, sa_column=_now_column())


class Due(SQLModel, table=True):
    """Everything unfinished: exactly one row for each thing that somebody must do."""

    __tablename__ = "due"
    __table_args__ = (
        _one_of("what", What),
        Index("due_by_lane", "what", "lane", "at"),
        Index("due_by_tenant", "what", "lane", "tenant", "at"),
        # Rows that are claimed alone; as many tries as `scheduler.claim.SUSPECT`.
        Index("due_suspects", "what", "lane", "at", postgresql_where=text("tries >= 3")),
        # Rows that the doctor tells of; as many faults as `models.due.PARKED_FAULTS`.
        Index("due_parked", "what", "id", postgresql_where=text("faults >= 5")),
        {
            "postgresql_with": {
                # Every poll rewrites its row twice, so vacuum early and often.
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0.01,
                "autovacuum_vacuum_threshold": 1000,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
    )
    what: What = Field(sa_column=Column(_Id, primary_key=True))
    id: str = Field(sa_column=Column(_Id, primary_key=True))
    #: What limits and fairness apply to: an account, a destination's host, or "-".
    lane: str = Field(sa_column=Column(_Id, nullable=False))
    tenant: str = Field(sa_column=Column(_Id, nullable=False))
    #: When it is due, or when its lease ends: one index serves both.
    at: datetime = Field(sa_column=Column(_Time, nullable=False, server_default=text("now()")))
    #: The fencing token of the pump that holds it.
    lease: str | None = Field(default=None, sa_column=Column(UUID(as_uuid=True)))
    #: Claims since it was last written back: after a few it is a suspect, and claimed alone.
    tries: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: Times in a row that our own work on it failed: each makes the next wait longer.
    faults: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )


class HighWater(SQLModel, table=True):
    """How far this database has come, in one row: compared with the mark kept outside of it."""

    __tablename__ = "high_water"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: int = Field(
        default=1,
        sa_column=Column(
            SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")
        ),
    )
    #: Names this database and every copy and backup of it: where its marks are kept.
    installation: str = Field(sa_column=Column(Text, nullable=False))
    #: Increased with every mark, before the mark is stored.
    generation: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    #: Random for each generation: tells two databases apart that went on from one copy.
    nonce: str = Field(sa_column=Column(Text, nullable=False, server_default=""))
    #: The newest generation whose mark is known to be stored.
    stored: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    marked_at: datetime | None = Field(default=None, sa_column=_now_column())
    #: When it was noticed that this database had been restored; None when all is well.
    restored_at: datetime | None = Field(default=None, sa_column=Column(_Time))
    #: The mark that was ahead of this database then.
    ahead: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
