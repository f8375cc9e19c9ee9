"""Attempts: the table, and the row that intake inserts."""

from dataclasses import dataclass
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
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field, SQLModel

from models.rows.columns import Id, Time, id_column, now_column, one_of
from models.state import AttemptState


class Attempt(SQLModel, table=True):
    """One paid POST to one provider: the unit that must never happen twice."""

    __tablename__ = "attempt"
    __table_args__ = (
        one_of("state", AttemptState),
        UniqueConstraint("account", "operation_id", name="operation_once_per_account"),
        Index("attempt_by_job", "job"),
        {"postgresql_with": {"fillfactor": 80}},
    )
    id: str = Field(sa_column=id_column(primary_key=True))
    job: str = Field(sa_column=id_column(references="job.id"))
    provider: str
    #: Pins the attempt to the credentials that it was planned for; also its lane.
    account: str
    #: Upstream model and length: what durations are learned for.
    route: str
    state: AttemptState = Field(sa_column=Column(Text, nullable=False))
    #: External id and callback token: what proves that an operation is this attempt's.
    marker: str = Field(sa_column=Column(Id, nullable=False, unique=True))
    #: Videos that it is to make.
    count: int = Field(
        default=1, sa_column=Column(SmallInteger, nullable=False, server_default="1")
    )
    #: SHA-256 of method, path and body, committed just before the POST.
    payload_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    #: The newest answer that its POST may get, by the sender's own time-outs; NULL before `sent`.
    answer_by: datetime | None = Field(default=None, sa_column=Column(Time))
    #: A look-up that begins later and finds nothing may prove that there is nothing.
    absent_after: datetime | None = Field(default=None, sa_column=Column(Time))
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
    negative_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: The attempt whose videos it took over.
    replaces: str | None = Field(default=None, sa_column=Column(Id))
    #: POSTs that provably reached nobody or were refused for the moment.
    rejections: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, server_default="0")
    )
    operation_id: str | None = Field(default=None, sa_column=Column(Id))
    #: 0..1 as the provider reports it.
    progress: float | None = None
    polls: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    #: When a look last brought an update.
    seen_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Since when its provider has denied the operation, with no update in between.
    denied_since: datetime | None = Field(default=None, sa_column=Column(Time))
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
    parked_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Look-ups of a parked attempt that proved that the provider has nothing of it.
    parked_looks: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    #: What the provider charges us, as far as is known.
    cost_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    created_at: datetime | None = Field(default=None, sa_column=now_column())
    sent_at: datetime | None = Field(default=None, sa_column=Column(Time))
    accepted_at: datetime | None = Field(default=None, sa_column=Column(Time))
    finished_at: datetime | None = Field(default=None, sa_column=Column(Time))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """An attempt as intake inserts it."""

    id: str
    job: str
    provider: str
    account: str
    route: str
    state: AttemptState
    marker: str
    count: int
