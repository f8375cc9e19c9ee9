"""What holds accounts back, decided by operators or by providers: the tables."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, Text
from sqlalchemy.dialects.postgresql import UUID
from sqlmodel import Field, SQLModel

from models.rows.accounts import Block, CapPeriod
from models.tables.columns import Id, Time, id_column, now_column, one_of


class AccountRule(SQLModel, table=True):
    """A pause, a block, a cap of an account; or the pause of all accounts of a provider.

    An account without any has no row. Submits lock the row of a capped account, so that its cap
    is exact over all processes.
    """

    __tablename__ = "account_rule"
    __table_args__ = (
        one_of("cap_period", CapPeriod),
        CheckConstraint("(cap_micros IS NULL) = (cap_period IS NULL)", name="cap_has_period"),
        CheckConstraint("cap_micros > 0", name="cap_allows_some"),
        one_of("block_code", Block),
        CheckConstraint(
            "(blocked_at IS NULL) = (block_code IS NULL) AND "
            "(blocked_at IS NULL) = (probe_at IS NULL)",
            name="block_has_time",
        ),
    )
    #: The account, or `provider:*` for all accounts of a provider.
    name: str = Field(sa_column=Column(Id, primary_key=True))
    paused_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When the pause ends by itself; NULL: when it is resumed.
    paused_until: datetime | None = Field(default=None, sa_column=Column(Time))
    pause_reason: str | None = None
    #: Why its provider refuses it, in our word and in the provider's.
    block_code: Block | None = Field(default=None, sa_column=Column(Text))
    block_reason: str | None = None
    blocked_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When one attempt may be sent to see whether the block is over; while one is, when it has
    #: been answered at the latest.
    probe_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: Token of the try that probes.
    probe_by: str | None = Field(default=None, sa_column=Column(UUID(as_uuid=True)))
    #: Refusals since the account worked: of the attempt that found it out, and of probes.
    probes: int = Field(
        default=0, sa_column=Column(SmallInteger, nullable=False, server_default="0")
    )
    #: What the account's attempts of a period may cost together.
    cap_micros: int | None = Field(default=None, sa_column=Column(BigInteger))
    cap_period: CapPeriod | None = Field(default=None, sa_column=Column(Text))
    cap_set_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: What they had cost or might have cost when the cap was set: it may be more than the cap.
    used_before_micros: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )
    #: What attempts cost that were deleted with their jobs since the cap was set.
    forgotten_micros: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )


class LanePace(SQLModel, table=True):
    """How far a provider's 429s slow a lane down, as one process told the others.

    A lane at full speed has no row, or an old one, which nobody reads.
    """

    __tablename__ = "lane_pace"
    what: str = Field(sa_column=Column(Text, primary_key=True))
    lane: str = Field(sa_column=id_column(primary_key=True))
    #: Of the requests at a time that a process may have in flight: above 0, and up to 1.
    share: float
    #: When its provider's Retry-After is over.
    paused_until: datetime = Field(sa_column=Column(Time, nullable=False))
    noted_at: datetime | None = Field(default=None, sa_column=now_column())
    #: The process that noted it.
    noted_by: str = Field(sa_column=Column(UUID(as_uuid=True), nullable=False))
