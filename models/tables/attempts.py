"""Attempts: the table."""

from datetime import datetime
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
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field, SQLModel

from models.state import AttemptState
from models.tables.columns import Id, Time, id_column, now_column, one_of


class Attempt(SQLModel, table=True):
    """One paid POST to one provider: the unit that must never happen twice."""

    __tablename__ = "attempt"
    __table_args__ = (
        one_of("state", AttemptState),
        UniqueConstraint("account", "operation_id", name="operation_once_per_account"),
        Index("attempt_by_job", "job"),
        Index(
            "attempt_sent_by_account",
            *("account", "sent_at"),
            postgresql_where=text("sent_at IS NOT NULL"),
        ),
        # Durations are learned from the newest of each route.
        Index(
            "attempt_by_route",
            *("route", "finished_at"),
            postgresql_where=text("state = 'succeeded'"),
        ),
        # Money at risk, which pages show: few among all.
        Index("attempt_unknown", "id", postgresql_where=text("state = 'unknown'")),
        # Rows of a batch run together: each page has room for its rows' next versions.
        {"postgresql_with": {"fillfactor": 50}},
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    job: str = Field(sa_column=id_column(references="job.id"))
    provider: str
    #: Pins the attempt to the credentials that it was planned for; also its lane.
    account: str
    #: Upstream model and length: durations are learned per route.
    route: str
    state: AttemptState = Field(sa_column=Column(Text, nullable=False))
    #: External id and callback token; proves that an operation belongs to this attempt.
    marker: str = Field(sa_column=Column(Id, nullable=False, unique=True))
    #: The plan that it carries out: 0 is the job's own, others are numbered as in its `fallbacks`.
    choice: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: Number of videos to make.
    count: int = Field(
        default=1, sa_column=Column(SmallInteger, nullable=False, server_default="1")
    )
    #: SHA-256 of method, path and body, committed just before the POST.
    payload_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: Time after which no response can arrive, by the sender's timeouts; NULL before `sent`.
    answer_by: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Only a look-up that begins later can prove absence.
    absent_after: datetime | None = Field(default=None, sa_column=Column(Time))
    #: The public base of the callback URL in the POST; NULL if it contained none.
    callback_base: str | None = None
    #: SHA-256 of provider, base URL and credentials; a look-up with others proves no absence.
    sent_as: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: Token of the try that committed it as sent; only that try may take it back.
    sent_by: str | None = Field(default=None, sa_column=Column(UUID(as_uuid=True)))
    #: Consecutive complete look-ups that found nothing after `absent_after`, and the latest's end.
    negative_looks: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    negative_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: The attempt that it replaces.
    replaces: str | None = Field(default=None, sa_column=Column(Id))
    #: POSTs that provably did not connect, or were refused temporarily.
    rejections: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    #: Its share of its plan's estimate, written when it is sent: caps sum it up.
    estimate_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    #: Why a planned attempt waits for its account, and since when; see `models.accounts`.
    waits_for: str | None = None
    waits_since: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When its provider last refused the account's key, credits or rate with it, and how often.
    refused_at: datetime | None = Field(default=None, sa_column=Column(Time))
    refusals: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: Its place in the queue, once it waits: it is due at that time again when the wait ends.
    due_since: datetime | None = Field(default=None, sa_column=Column(Time))
    operation_id: str | None = Field(default=None, sa_column=Column(Id))
    #: Progress as reported by the provider, 0..1.
    progress: float | None = None
    #: Polls of its operation that have been written: see `PollItem.polls`.
    polls: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: Time of the latest poll that returned an update.
    seen_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When the operation left its vendor's queue, as polls tell: when it was accepted, or
    #: halfway between the last poll that saw it queued and the first that saw it run.
    running_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Time of the latest callback about it while it was accepted.
    called_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Start of the provider's denials of the operation, without an update since.
    denied_since: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Consecutive polls without a readable response.
    poll_faults: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    #: Number of inconclusive look-ups.
    look_ups: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: Number of failed cancels.
    cancel_faults: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    #: Of these, the latest in a row that were denials.
    cancel_denials: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    #: When a restore parked it, because it may have been sent since the backup. Kept when its
    #: operation is adopted; NULL again after its release.
    parked_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Look-ups of the parked attempt that proved its absence.
    parked_looks: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    #: The provider's charge, if known.
    cost_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    sent_at: datetime | None = Field(default=None, sa_column=Column(Time))
    accepted_at: datetime | None = Field(default=None, sa_column=Column(Time))
    finished_at: datetime | None = Field(default=None, sa_column=Column(Time))
