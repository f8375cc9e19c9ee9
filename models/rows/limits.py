"""Limits of submissions: the row that is read."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class Holder(StrEnum):
    """Whose submissions a row limits."""

    TENANT = "tenant"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """A tenant's or key's limits and windows."""

    holder: str
    id: str
    tier: str | None
    concurrent: int | None
    per_minute: int | None
    per_day: int | None
    minute_at: datetime | None
    minute_used: int
    day: date | None
    day_used: int
