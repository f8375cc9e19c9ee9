"""Reserving what a job or a batch may cost at its submission, or refusing it in words."""

from collections.abc import Mapping, Sequence

from models import ledger
from models.database import Connection
from models.dollars import dollars
from models.failure import RequestRefused
from models.ledger import Exceeded
from models.rows.jobs import NewJob
from models.rows.money import Period, Scope


async def reserve(connection: Connection, job: NewJob) -> None:
    """Reserve what an inserted job may cost its tenant.

    Raises:
        RequestRefused: `insufficient_balance`: the balance, a budget or the gate's spending limit
            has too little left.
    """
    _check(await ledger.reserve(connection, job.id), asked=job.reserved_micros, what="request")


async def reserve_batch(
    connection: Connection,
    by_gate: Mapping[str | None, int],
    *,
    tenant: str,
    api_key: str | None,
    app_id: str | None,
) -> None:
    """Reserve what all lines of a batch may cost, in sums by gate, or nothing.

    Raises:
        RequestRefused: as `reserve`.
    """
    exceeded = await ledger.reserve_sums(
        connection, by_gate, tenant=tenant, api_key=api_key, app_id=app_id
    )
    _check(exceeded, asked=sum(by_gate.values()), what="batch")


def _check(exceeded: Sequence[Exceeded], *, asked: int, what: str) -> None:
    if not exceeded:
        return
    # An empty balance first: no budget's end would help.
    full = min(exceeded, key=lambda each: each.period != Period.PREPAID)
    is_of_gate = full.scope == Scope.GATE
    code = "gate_spending_limit" if is_of_gate else "budget_exceeded"
    raise RequestRefused(
        _in_words(full, asked=asked, what=what),
        type="insufficient_balance",
        code="insufficient_balance" if full.period == Period.PREPAID else code,
        param="gate" if is_of_gate else None,
    )


def _in_words(full: Exceeded, *, asked: int, what: str) -> str:
    used = f"{dollars(full.spent_micros)} is spent and {dollars(full.reserved_micros)} reserved"
    asked_for = f"this {what} asks for {dollars(asked)}"
    if full.period == Period.PREPAID:
        left = full.limit_micros - full.spent_micros - full.reserved_micros
        return (
            f"the balance of tenant {full.subject} is {dollars(left)}: of "
            f"{dollars(full.limit_micros)} deposited, {used}; {asked_for}"
        )
    if full.scope == Scope.GATE:
        return (
            f"the gate {full.subject} has a spending limit of {dollars(full.limit_micros)}, of "
            f"which {dollars(full.spent_micros + full.reserved_micros)} is spent or reserved; this "
            f"job may cost {dollars(asked)}"
        )
    whose = {Scope.TENANT: "tenant", Scope.KEY: "API key", Scope.APP: "app"}[Scope(full.scope)]
    kind = {Period.DAY: "daily", Period.MONTH: "monthly", Period.TOTAL: "total"}[
        Period(full.period)
    ]
    ends = f"it resets at {full.resets_at:%Y-%m-%dT%H:%M:%SZ}" if full.resets_at else "no reset"
    return (
        f"the {kind} budget of {whose} {full.subject} is {dollars(full.limit_micros)}: {used}; "
        f"{asked_for}; {ends}"
    )
