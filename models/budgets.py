"""Balances and budgets as operators see and set them; `models.ledger` holds submissions to them.

Setting a budget first locks its tenant, which waits for every transaction that is writing
entries of that tenant and holds up the next ones: what a new budget has used is then exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection, fetch_ids, fetch_rows
from models.dollars import dollars
from models.failure import RequestRefused
from models.ids import new_id
from models.ledger import COUNTS, PERIOD_END, PERIOD_START
from models.records import columns
from models.rows.money import Account, BudgetRow, EntryRow, Period, Scope

#: The most that a tenant may have deposited altogether: sums stay far below 64 bits.
MOST_DEPOSITED_MICROS = 10**17

#: SQL: the entries that a `budget` counts in the period that starts at `starts_at`.
COUNTED = f"""{COUNTS.format(of="ledger_entry")}
    AND ledger_entry.counts_at >= {{starts_at}}
    AND ({PERIOD_END} IS NULL OR ledger_entry.counts_at < {PERIOD_END})"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A tenant's money, all in millionths of a US dollar."""

    tenant: str
    is_prepaid: bool
    deposited_micros: int
    reserved_micros: int
    spent_micros: int

    @property
    def available_micros(self) -> int:
        """What is left of the deposits; below zero it is owed."""
        return self.deposited_micros - self.reserved_micros - self.spent_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBudget(BudgetRow):
    """A budget with what it holds in its present period."""

    reserved_micros: int
    spent_micros: int
    #: None for a budget of all time.
    resets_at: datetime | None


async def balances(connection: Connection, tenant: str | None = None) -> list[Balance]:
    """The balance of a tenant, or of all; raises RequestRefused for an unknown tenant."""
    if tenant is not None:
        await _check_tenant(connection, tenant)
    return await fetch_rows(
        connection,
        Balance,
        """
        SELECT tenant.id AS tenant,
               EXISTS (SELECT 1 FROM budget
                       WHERE budget.tenant = tenant.id AND period = 'prepaid') AS is_prepaid,
               coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:reserved'), 0)::bigint
                   AS reserved_micros,
               coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:spent'), 0)::bigint
                   AS spent_micros,
               coalesce(-sum(amount_micros) FILTER (WHERE account = 'operator:deposits'), 0)::bigint
                   AS deposited_micros
        FROM tenant LEFT JOIN ledger_entry ON ledger_entry.tenant = tenant.id
        WHERE %(tenant)s::text IS NULL OR tenant.id = %(tenant)s
        GROUP BY tenant.id ORDER BY tenant.id
        """,
        {"tenant": tenant},
    )


async def deposit(connection: Connection, tenant: str, micros: int, *, id_: str) -> None:
    """Add to a tenant's balance; its first deposit makes it prepaid.

    `id_` names the deposit: another one of the same name changes nothing, so a commit whose answer
    was lost may be repeated.

    Raises:
        RequestRefused: the tenant is unknown, or has deposited too much.
    """
    await make_prepaid(connection, tenant)
    entry_set = f"deposit {id_}"
    sql = "SELECT entry_set FROM ledger_entry WHERE entry_set = %s LIMIT 1"
    if await fetch_ids(connection, sql, (entry_set,)):
        return
    raised = await fetch_ids(
        connection,
        """
        UPDATE budget SET limit_micros = limit_micros + %(micros)s
        WHERE tenant = %(tenant)s AND period = 'prepaid' AND limit_micros + %(micros)s <= %(most)s
        RETURNING id
        """,
        {"micros": micros, "tenant": tenant, "most": MOST_DEPOSITED_MICROS},
    )
    if not raised:
        msg = f"a tenant's deposits must sum to at most {dollars(MOST_DEPOSITED_MICROS)}"
        raise RequestRefused(msg, param="amount")
    await connection.execute(
        """
        INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant)
        SELECT %s, side.account, side.amount, %s
        FROM (VALUES (%s, -%s::bigint), (%s, %s::bigint)) AS side (account, amount)
        """,
        (
            *(entry_set, tenant),
            *(Account.DEPOSITS, micros, Account.AVAILABLE, micros),
        ),
    )


async def make_prepaid(connection: Connection, tenant: str) -> None:
    """Refuse the tenant's requests from now on when its deposits are used up; idempotent."""
    await lock_tenant(connection, tenant)
    is_prepaid = await fetch_ids(
        connection, "SELECT id FROM budget WHERE tenant = %s AND period = 'prepaid'", (tenant,)
    )
    if not is_prepaid:
        await _write(connection, tenant, Scope.TENANT, tenant, Period.PREPAID, limit=0)


async def set_budget(
    connection: Connection,
    tenant: str,
    *,
    scope: Scope,
    subject: str,
    period: Period,
    limit_micros: int,
) -> None:
    """Set a budget, which counts from the start of the present period, or of all time.

    A limit below what is used already refuses requests until the period's end; it cancels nothing.

    Raises:
        RequestRefused: the tenant is unknown, or has no such key.
    """
    await lock_tenant(connection, tenant)
    if scope is Scope.KEY:
        sql = "SELECT id FROM api_key WHERE id = %s AND tenant = %s"
        if not await fetch_ids(connection, sql, (subject, tenant)):
            msg = f"tenant {tenant} has no key {subject!r}; `longtake keys list` shows its keys"
            raise RequestRefused(msg, type="not_found", param="key")
    await _write(connection, tenant, scope, subject, period, limit=limit_micros)


async def set_gate_limit(
    connection: Connection, tenant: str, gate: str, *, limit_micros: int | None
) -> None:
    """Set or lift what the jobs of a gate may cost together, all its earlier jobs included.

    The caller holds the gate's row, and then its tenant by `lock_tenant`.
    """
    if limit_micros is None:
        await _remove(connection, tenant, Scope.GATE, gate, Period.TOTAL)
    else:
        await _write(connection, tenant, Scope.GATE, gate, Period.TOTAL, limit=limit_micros)


async def remove_budget(
    connection: Connection, tenant: str, *, scope: Scope, subject: str, period: Period
) -> bool:
    """Remove a budget; False if there is none. Raises RequestRefused for an unknown tenant."""
    await lock_tenant(connection, tenant)
    return await _remove(connection, tenant, scope, subject, period)


async def _remove(
    connection: Connection, tenant: str, scope: Scope, subject: str, period: Period
) -> bool:
    removed = await fetch_ids(
        connection,
        """
        DELETE FROM budget WHERE tenant = %s AND scope = %s AND subject = %s AND period = %s
        RETURNING id
        """,
        (tenant, scope, subject, period),
    )
    return bool(removed)


async def list_budgets(
    connection: Connection, tenant: str | None = None, *, fullest: int | None = None
) -> list[ListedBudget]:
    """The budgets of a tenant, or of all; raises RequestRefused for an unknown tenant.

    Of many, only the `fullest`, those that have the least part of their limit left first.

    Among them are the spending limits of gates. Those of deleted gates are left out: they are kept
    for the jobs that still hold a part of them.
    """
    if tenant is not None:
        await _check_tenant(connection, tenant)
    return await fetch_rows(
        connection,
        ListedBudget,
        f"""
        SELECT {columns(BudgetRow, of="budget")},
               coalesce(used.reserved_micros, 0) AS reserved_micros,
               coalesce(used.spent_micros, 0) AS spent_micros,
               {PERIOD_END.format(starts_at="present.starts_at")} AS resets_at
        FROM budget
        CROSS JOIN LATERAL (SELECT {PERIOD_START.format(at="now()")} AS starts_at) AS present
        LEFT JOIN budget_use AS used
             ON used.budget = budget.id AND used.starts_at = present.starts_at
        WHERE budget.period <> 'prepaid'
          AND (budget.scope <> 'gate' OR budget.subject IN (SELECT id FROM gate))
          AND (%(tenant)s::text IS NULL OR budget.tenant = %(tenant)s)
        ORDER BY CASE WHEN %(fullest)s::bigint IS NOT NULL THEN
                     (coalesce(used.reserved_micros, 0) + coalesce(used.spent_micros, 0))::float8
                     / nullif(budget.limit_micros, 0) END DESC NULLS FIRST,
                 budget.tenant, budget.scope, budget.subject, budget.period
        LIMIT %(fullest)s
        """,  # noqa: S608 - columns of our own
        {"tenant": tenant, "fullest": fullest},
    )


async def statement(
    connection: Connection, tenant: str, *, since: datetime | None, limit: int
) -> list[EntryRow]:
    """The newest `limit` entries of a tenant, oldest first.

    Raises RequestRefused for an unknown tenant.
    """
    await _check_tenant(connection, tenant)
    newest = await fetch_rows(
        connection,
        EntryRow,
        f"""
        SELECT {columns(EntryRow)} FROM ledger_entry
        WHERE tenant = %(tenant)s AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
        ORDER BY id DESC LIMIT %(limit)s
        """,  # noqa: S608 - columns of our own
        {"tenant": tenant, "since": since, "limit": limit},
    )
    return newest[::-1]


async def _write(
    connection: Connection,
    tenant: str,
    scope: Scope,
    subject: str,
    period: Period,
    *,
    limit: int,
) -> None:
    """Insert or change a budget of a locked tenant, and count what its present period has used."""
    ids = await fetch_ids(
        connection,
        """
        INSERT INTO budget (id, tenant, scope, subject, period, limit_micros)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (tenant, scope, subject, period)
        DO UPDATE SET limit_micros = excluded.limit_micros
        RETURNING id
        """,
        (new_id("bud"), tenant, scope, subject, period, limit),
    )
    # By the statement's time: jobs may have come, even in a new period, while the lock was awaited.
    # The period before is opened too: a submission that began in it may still reserve.
    start = PERIOD_START.format(at="statement_timestamp()")
    before = PERIOD_START.format(at="present.starts_at - interval '1 microsecond'")
    counted = COUNTED.format(starts_at="opened.starts_at")
    await connection.execute(
        f"""
        INSERT INTO budget_use (budget, starts_at, reserved_micros, spent_micros)
        SELECT budget.id, opened.starts_at,
               coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:reserved'), 0),
               coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:spent'), 0)
        FROM budget
        CROSS JOIN LATERAL (SELECT {start} AS starts_at) AS present
        CROSS JOIN LATERAL (SELECT starts_at UNION SELECT {before}) AS opened
        LEFT JOIN ledger_entry ON {counted}
        WHERE budget.id = ANY(%(ids)s) GROUP BY budget.id, opened.starts_at
        ON CONFLICT (budget, starts_at) DO NOTHING
        """,  # noqa: S608 - constants
        {"ids": ids},
    )
    await connection.execute(
        """
        UPDATE budget_use SET used_before_micros = reserved_micros + spent_micros
        WHERE budget = ANY(%s)
        """,
        (ids,),
    )


async def lock_tenant(connection: Connection, tenant: str) -> None:
    """Lock a tenant against new entries, before its budgets are set.

    Raises RequestRefused for an unknown tenant.
    """
    found = await fetch_ids(connection, "SELECT id FROM tenant WHERE id = %s FOR UPDATE", (tenant,))
    _check_found(tenant, found)


async def _check_tenant(connection: Connection, tenant: str) -> None:
    found = await fetch_ids(connection, "SELECT id FROM tenant WHERE id = %s", (tenant,))
    _check_found(tenant, found)


def _check_found(tenant: str, found: Sequence[str]) -> None:
    if not found:
        msg = f"there is no tenant {tenant[:64]!r}; `longtake keys create --tenant` creates one"
        raise RequestRefused(msg, type="not_found", param="tenant")
