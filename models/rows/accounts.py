"""What holds accounts back, decided by operators or by providers: the words of their columns."""

from enum import StrEnum


class CapPeriod(StrEnum):
    """The time over which a cap counts, in UTC."""

    DAY = "day"
    MONTH = "month"
    #: All time.
    TOTAL = "total"


class Block(StrEnum):
    """Why a provider takes nothing from an account; also the public codes of attempts that wait."""

    #: It refuses the account's key.
    AUTH = "provider_auth"
    #: The account is out of credits, plan or quota.
    QUOTA = "provider_quota"
    #: It asked to be left alone for longer than a lane pauses.
    RATE = "provider_rate_limited"
