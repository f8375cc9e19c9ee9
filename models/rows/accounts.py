"""What operators have decided on accounts: the table."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, Text
from sqlmodel import Field, SQLModel

from models.rows.columns import Id, Time, one_of


class CapPeriod(StrEnum):
    """The time over which a cap counts, in UTC."""

    DAY = "day"
    MONTH = "month"
    #: All time.
    TOTAL = "total"


class AccountRule(SQLModel, table=True):
    """A pause, a cap, or both, of an account; or the pause of all accounts of a provider.

    An account without either has no row. Submits lock the row of a capped account, so that its cap
    is exact over all processes.
    """

    __tablename__ = "account_rule"
    __table_args__ = (
        one_of("cap_period", CapPeriod),
        CheckConstraint("(cap_micros IS NULL) = (cap_period IS NULL)", name="cap_has_period"),
        CheckConstraint("cap_micros > 0", name="cap_allows_some"),
    )
    #: The account, or `provider:*` for all accounts of a provider.
    name: str = Field(sa_column=Column(Id, primary_key=True))
    paused_at: datetime | None = Field(default=None, sa_column=Column(Time))
    #: When the pause ends by itself; NULL: when it is resumed.
    paused_until: datetime | None = Field(default=None, sa_column=Column(Time))
    pause_reason: str | None = None
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
