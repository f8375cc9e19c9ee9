"""The ledger and the budgets: the rows that are read."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Account(StrEnum):
    """Where money is; the entries of a set move it between these and sum to zero."""

    #: What a tenant has deposited, without what is reserved and spent; below zero it is owed.
    AVAILABLE = "tenant:available"
    #: What unfinished jobs may still cost their tenant.
    RESERVED = "tenant:reserved"
    #: What jobs have cost their tenant.
    SPENT = "tenant:spent"
    #: The other side of deposits.
    DEPOSITS = "operator:deposits"
    #: What providers cost us beyond what tenants were charged: overruns, and attempts that made no
    #: video that anyone pays for.
    ABSORBED = "operator:absorbed"
    #: The other side of that: what providers are owed for it.
    PROVIDER = "operator:provider"


class Scope(StrEnum):
    """Whose jobs a budget counts."""

    TENANT = "tenant"
    KEY = "key"
    APP = "app"
    #: Its limit is the gate's spending limit.
    GATE = "gate"


class Period(StrEnum):
    """The time over which a budget counts, in UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"
    #: All time, like TOTAL; its limit is the sum of the tenant's deposits.
    PREPAID = "prepaid"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """A budget as it is read."""

    id: str
    tenant: str
    scope: str
    subject: str
    period: str
    limit_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """An entry as a statement lists it."""

    id: int
    at: datetime
    entry_set: str
    account: str
    amount_micros: int
    job: str | None
    attempt: str | None
