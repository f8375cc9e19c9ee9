"""The ledger: money moves in the transaction of the state that moves it, and each set sums to zero.

Order of locks: a tenant's key, then the uses of its budgets by id; both after all other rows of
the transaction (`models.locks`), because many jobs wait for the same few. Every entry locks its
tenant's key through its foreign key, and whoever sets a budget locks the tenant against that: so a
budget counts every entry that was written before it, and every later one finds the budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection, fetch_ids, fetch_rows
from models.estimate import COST_TO_US
from models.rows.money import Account

#: SQL: the start of the period of a `budget` that a time is in.
PERIOD_START = """CASE budget.period
    WHEN 'day' THEN date_trunc('day', {at}, 'UTC')
    WHEN 'month' THEN date_trunc('month', {at}, 'UTC')
    ELSE 'epoch'::timestamptz END"""

#: SQL: the end of the period of a `budget` that starts at a time; NULL for one of all time.
PERIOD_END = """CASE budget.period
    WHEN 'day' THEN date_trunc('day', {starts_at} AT TIME ZONE 'UTC' + interval '1 day')
    WHEN 'month' THEN date_trunc('month', {starts_at} AT TIME ZONE 'UTC' + interval '1 month')
    END AT TIME ZONE 'UTC'"""

#: SQL: whether a `budget` counts what belongs to a tenant, key, app and gate, columns of `of`.
COUNTS = """budget.tenant = {of}.tenant AND CASE budget.scope
    WHEN 'key' THEN budget.subject = {of}.api_key
    WHEN 'app' THEN budget.subject = {of}.app_id
    WHEN 'gate' THEN budget.subject = {of}.gate
    ELSE true END"""

_COLUMNS = (
    "entry_set, account, amount_micros, tenant, api_key, app_id, gate, job, attempt, counts_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeded:
    """A budget that has no room for a reservation, and what it holds."""

    id: str
    scope: str
    #: As in the budget; of a gate its name.
    subject: str
    period: str
    limit_micros: int
    reserved_micros: int
    spent_micros: int
    #: None for a budget of all time.
    resets_at: datetime | None


#: Takes what each `job` wants from the budgets that count it; finds those without room for it.
_TAKE = f"""
wanted AS (
    SELECT budget.*, sum(job.reserved_micros)::bigint AS amount,
           {PERIOD_START.format(at="job.created_at")} AS starts_at
    FROM job JOIN budget ON {COUNTS.format(of="job")}
    GROUP BY budget.id, job.created_at
), taken AS (
    INSERT INTO budget_use AS used (budget, starts_at, reserved_micros)
    SELECT id, starts_at, amount FROM wanted WHERE amount <= limit_micros ORDER BY id
    ON CONFLICT (budget, starts_at) DO UPDATE
    SET reserved_micros = used.reserved_micros + excluded.reserved_micros
    WHERE used.reserved_micros + used.spent_micros + excluded.reserved_micros
          <= (SELECT limit_micros FROM budget WHERE budget.id = used.budget)
    RETURNING budget
)
SELECT wanted.id FROM wanted LEFT JOIN taken ON taken.budget = wanted.id
WHERE taken.budget IS NULL
"""  # noqa: S608 - constants

_RESERVE = f"""
WITH job AS (
    SELECT id, tenant, api_key, app_id, gate, reserved_micros, created_at
    FROM job WHERE id = %(job)s
), entries AS (
    INSERT INTO ledger_entry ({_COLUMNS})
    SELECT 'reserve ' || job.id, side.account, side.amount, tenant, api_key, app_id, gate, job.id,
           NULL, created_at
    FROM job, LATERAL (VALUES
        ('{Account.AVAILABLE}', -reserved_micros),
        ('{Account.RESERVED}', reserved_micros)) AS side (account, amount)
    WHERE side.amount <> 0
), {_TAKE}"""  # noqa: S608 - constants

_RESERVE_SUMS = f"""
WITH job AS (
    SELECT %(tenant)s::text AS tenant, %(api_key)s::text AS api_key, %(app_id)s::text AS app_id,
           gate, micros AS reserved_micros, now() AS created_at
    FROM unnest(%(gates)s::text[], %(micros)s::bigint[]) AS sums (gate, micros)
), {_TAKE}"""  # noqa: S608 - constants


async def reserve(connection: Connection, job: str) -> list[Exceeded]:
    """Reserve what a job that was just inserted may cost; returns the budgets without room for it.

    Where it returns any, the transaction must be rolled back: the others have been taken from.
    """
    return await _exceeded(connection, await fetch_ids(connection, _RESERVE, {"job": job}))


async def reserve_sums(
    connection: Connection,
    by_gate: Mapping[str | None, int],
    *,
    tenant: str,
    api_key: str | None,
    app_id: str | None,
) -> list[Exceeded]:
    """Like `reserve`, for many jobs of one caller whose entries are there: their sums by gate."""
    given = {"tenant": tenant, "api_key": api_key, "app_id": app_id}
    sums = {"gates": list(by_gate), "micros": list(by_gate.values())}
    return await _exceeded(connection, await fetch_ids(connection, _RESERVE_SUMS, given | sums))


async def _exceeded(connection: Connection, full: Sequence[str]) -> list[Exceeded]:
    if not full:
        return []
    # A separate statement sees what the holder of the row's lock has written meanwhile.
    return await fetch_rows(
        connection,
        Exceeded,
        f"""
        SELECT budget.id, budget.scope, budget.period, budget.limit_micros,
               CASE budget.scope WHEN 'gate' THEN coalesce((
                   SELECT name FROM gate WHERE gate.id = budget.subject), budget.subject)
               ELSE budget.subject END AS subject,
               coalesce(budget_use.reserved_micros, 0) AS reserved_micros,
               coalesce(budget_use.spent_micros, 0) AS spent_micros,
               {PERIOD_END.format(starts_at="period.starts_at")} AS resets_at
        FROM budget
        CROSS JOIN LATERAL (SELECT {PERIOD_START.format(at="now()")} AS starts_at) AS period
        LEFT JOIN budget_use
             ON budget_use.budget = budget.id AND budget_use.starts_at = period.starts_at
        WHERE budget.id = ANY(%s) ORDER BY budget.id
        """,  # noqa: S608 - constants
        (list(full),),
    )


_CHARGE = f"""
INSERT INTO ledger_entry ({_COLUMNS})
SELECT 'charge ' || job.id, side.account, side.amount, tenant, api_key, app_id, gate, job.id,
       NULL, created_at
FROM job, LATERAL (VALUES
    ('{Account.RESERVED}', -reserved_micros),
    ('{Account.SPENT}', cost_micros),
    ('{Account.AVAILABLE}', reserved_micros - cost_micros)) AS side (account, amount)
WHERE job.id = ANY(%(jobs)s) AND side.amount <> 0 ORDER BY job.id
"""  # noqa: S608 - constants

#: What jobs cost us beyond their price: videos that were made and not delivered, and dearer ones.
_ABSORB_OF_JOBS = f"""
INSERT INTO ledger_entry ({_COLUMNS})
SELECT 'absorb ' || made.id, side.account, side.amount, tenant, api_key, app_id, gate, made.id,
       NULL, created_at
FROM (SELECT job.id, job.tenant, job.api_key, job.app_id, job.gate, job.created_at,
             sum({COST_TO_US})::bigint - job.cost_micros AS over
      FROM job JOIN attempt ON attempt.job = job.id AND attempt.state = 'succeeded'
      WHERE job.id = ANY(%(jobs)s) GROUP BY job.id) AS made,
     LATERAL (VALUES ('{Account.ABSORBED}', over), ('{Account.PROVIDER}', -over))
         AS side (account, amount)
WHERE over > 0 ORDER BY made.id
"""  # noqa: S608 - constants

_ABSORB = f"""
INSERT INTO ledger_entry ({_COLUMNS})
SELECT 'absorb ' || made.id || ' ' || made.times, side.account, side.amount, tenant, api_key,
       app_id, gate, made.job, made.id, created_at
FROM (SELECT attempt.id, attempt.job, job.tenant, job.api_key, job.app_id, job.gate,
             job.created_at,
             {COST_TO_US} - coalesce(before.amount, 0) AS more, coalesce(before.times, 0) AS times
      FROM attempt JOIN job ON job.id = attempt.job
      LEFT JOIN LATERAL (SELECT sum(amount_micros)::bigint AS amount, count(*) AS times
                         FROM ledger_entry
                         WHERE ledger_entry.attempt = attempt.id
                           AND account = '{Account.ABSORBED}') AS before ON true
      WHERE {{which}} AND job.finished_at IS NOT NULL) AS made,
     LATERAL (VALUES ('{Account.ABSORBED}', more), ('{Account.PROVIDER}', -more))
         AS side (account, amount)
WHERE more <> 0 ORDER BY made.id
"""  # noqa: S608 - constants
_ABSORB_SOME = _ABSORB.format(which="attempt.id = ANY(%(attempts)s)")
_ABSORB_UNSUCCESSFUL = _ABSORB.format(
    which="attempt.job = ANY(%(jobs)s) AND attempt.state IN ('unknown', 'failed', 'cancelled')"
)


async def charge(connection: Connection, jobs: Sequence[str]) -> None:
    """Spend what jobs that have just ended were charged, and release the rest of what they held.

    What attempts cost us beyond that is absorbed.
    """
    if not jobs:
        return
    given = {"jobs": sorted(jobs)}
    await connection.execute(_ABSORB_OF_JOBS, given)
    await connection.execute(_ABSORB_UNSUCCESSFUL, given)
    await connection.execute(_CHARGE, given)
    # The entries hold the tenants' keys by now, so no budget is set beside this.
    await _give_back(connection, given["jobs"])


_USES_OF_JOBS = f"""
SELECT budget.id, {PERIOD_START.format(at="job.created_at")} AS starts_at,
       sum(job.reserved_micros) AS reserved, sum(job.cost_micros) AS spent
FROM job JOIN budget ON {COUNTS.format(of="job")}
WHERE job.id = ANY(%(jobs)s) GROUP BY 1, 2
"""  # noqa: S608 - constants


async def _give_back(connection: Connection, jobs: Sequence[str]) -> None:
    """Move what jobs held of budgets to spent, and return the rest."""
    held = await fetch_ids(
        connection,
        f"""
        SELECT used.budget FROM budget_use AS used
        JOIN ({_USES_OF_JOBS}) AS ended
             ON ended.id = used.budget AND ended.starts_at = used.starts_at
        ORDER BY used.budget, used.starts_at FOR NO KEY UPDATE OF used
        """,  # noqa: S608 - constants
        {"jobs": jobs},
    )
    if not held:
        return
    await connection.execute(
        f"""
        UPDATE budget_use AS used SET reserved_micros = used.reserved_micros - ended.reserved,
                                      spent_micros = used.spent_micros + ended.spent
        FROM ({_USES_OF_JOBS}) AS ended
        WHERE ended.id = used.budget AND ended.starts_at = used.starts_at
        """,  # noqa: S608 - constants
        {"jobs": jobs},
    )


async def absorb(connection: Connection, attempts: Sequence[str]) -> None:
    """Enter what attempts of final jobs have cost us, as far as it is not entered yet.

    Called for attempts that earn nothing any more: a later finding (absent, or at another cost)
    corrects an earlier one. The attempts of an unfinished job wait for its end. The caller holds
    the attempts' rows or their jobs.
    """
    if attempts:
        await connection.execute(_ABSORB_SOME, {"attempts": list(attempts)})
