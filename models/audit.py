"""The invariants of money: the ledger against the jobs, and the budgets against the ledger."""

from dataclasses import dataclass
from datetime import datetime

from models.accounts import STARTS_AT, spent_since
from models.budgets import COUNTED
from models.database import Connection, fetch_rows
from models.estimate import AT_STAKE, COST_TO_US, ESTIMATE_WHEN_SENT
from models.invariant import Invariant, Over
from models.rows.attempts import ESTIMATE
from models.rows.jobs import DEAREST

_BY_JOB = """
    SELECT job, counts_at,
           sum(amount_micros) FILTER (WHERE account = 'tenant:reserved') AS reserved,
           sum(amount_micros) FILTER (WHERE account = 'tenant:spent') AS spent,
           sum(amount_micros) FILTER (WHERE account = 'tenant:available') AS available
    FROM ledger_entry WHERE job IS NOT NULL GROUP BY job, counts_at
"""

#: What an attempt counted for when it was sent, as far as it still does.
_FORESEEN = f"""CASE WHEN EXISTS (
        SELECT 1 FROM event WHERE event.job = attempt.job
          AND (event.kind = 'attempt.late_evidence' AND event.detail ->> 'attempt' = attempt.id
               OR event.kind = 'attempt.second_operation'
                  AND event.detail ->> 'recorded_as' = attempt.id))
    THEN 0 ELSE least({AT_STAKE}, {ESTIMATE_WHEN_SENT}) END"""  # noqa: S608 - constants

MONEY = (
    Invariant(
        "job_charge",
        "a job costs its estimate's share that was stored by its end, and nothing if it failed",
        f"""
        SELECT job.id FROM job JOIN output ON output.job = job.id
             JOIN attempt ON attempt.id = output.attempt
        WHERE job.state = ANY(%(final)s) GROUP BY job.id, job.state, job.cost_micros
        HAVING job.cost_micros <> round(coalesce(sum({ESTIMATE}) FILTER (
                   WHERE output.state = 'stored' AND output.recovered_at IS NULL), 0) / count(*))
            OR (job.state = 'failed' AND job.cost_micros <> 0)
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "job_overcharged",
        "no job costs more than the estimate of its dearest plan, nor than was reserved for it",
        f"""
        SELECT id FROM job
        WHERE cost_micros < 0
           OR (cost_micros > estimated_cost_micros AND cost_micros > {DEAREST})
           OR (reserved_micros > 0 AND cost_micros > reserved_micros)
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "ledger_unbalanced",
        "the entries of each set sum to zero",
        """
        SELECT entry_set AS id FROM ledger_entry
        GROUP BY entry_set, counts_at HAVING sum(amount_micros) <> 0
        """,
        Over.ENTRIES,
    ),
    Invariant(
        "ledger_misnamed",
        "a set is named after what it enters: a deposit, or what was reserved, charged or absorbed "
        "of a job, or absorbed of an attempt",
        """
        SELECT entry_set AS id FROM ledger_entry
        WHERE CASE WHEN job IS NULL THEN attempt IS NOT NULL
                   WHEN attempt IS NULL
                   THEN entry_set NOT IN ('reserve ' || job, 'charge ' || job, 'absorb ' || job)
                   ELSE NOT starts_with(entry_set, 'absorb ' || attempt || ' ') END
           OR (account = 'operator:deposits' AND NOT starts_with(entry_set, 'deposit '))
        """,
        Over.ENTRIES,
    ),
    Invariant(
        "ledger_of_job",
        "an unfinished job holds what was reserved for it, and a final one nothing: its charge is "
        "spent and the rest released",
        f"""
        SELECT job.id FROM job
        LEFT JOIN ({_BY_JOB}) AS entered
             ON entered.job = job.id AND entered.counts_at = job.created_at
        WHERE coalesce(entered.reserved, 0)
                  <> CASE WHEN job.state = ANY(%(final)s) THEN 0 ELSE job.reserved_micros END
           OR coalesce(entered.spent, 0)
                  <> CASE WHEN job.state = ANY(%(final)s) THEN job.cost_micros ELSE 0 END
           OR coalesce(entered.available, 0)
                  <> -coalesce(entered.reserved, 0) - coalesce(entered.spent, 0)
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "attempt_not_absorbed",
        "what an attempt of a final job cost without making a video is absorbed, to the cent",
        f"""
        SELECT attempt.id FROM attempt JOIN job ON job.id = attempt.job
        WHERE job.state = ANY(%(final)s)
          AND attempt.state IN ('unknown', 'refused', 'failed', 'cancelled')
          AND {COST_TO_US} <> (
              SELECT coalesce(sum(amount_micros), 0) FROM ledger_entry
              WHERE ledger_entry.attempt = attempt.id AND account = 'operator:absorbed')
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "overrun_not_absorbed",
        "what the videos that a final job's attempts had made by its end cost beyond its charge is "
        "absorbed",
        f"""
        SELECT job.id FROM job
        LEFT JOIN (SELECT job, counts_at, sum(amount_micros) AS amount FROM ledger_entry
                   WHERE attempt IS NULL AND account = 'operator:absorbed'
                   GROUP BY 1, 2) AS absorbed
             ON absorbed.job = job.id AND absorbed.counts_at = job.created_at
        LEFT JOIN attempt ON attempt.job = job.id AND attempt.state = 'succeeded'
        LEFT JOIN (SELECT DISTINCT attempt AS id FROM ledger_entry WHERE attempt IS NOT NULL)
             AS alone ON alone.id = attempt.id
        WHERE job.state = ANY(%(final)s) GROUP BY job.id, job.cost_micros, absorbed.amount
        HAVING greatest(coalesce(sum({COST_TO_US}) FILTER (WHERE alone.id IS NULL), 0)
                        - job.cost_micros, 0)
               <> coalesce(absorbed.amount, 0)
        """,  # noqa: S608 - a constant
    ),
    # Compared by `miscounted`.
    Invariant(
        "budget_miscounted",
        "a budget holds what the ledger holds of its jobs in its period",
        "SELECT NULL AS id WHERE false",
        Over.RULES,
    ),
    Invariant(
        "budget_exceeded",
        "no budget holds more than its limit, or than it held when the limit was set",
        """
        SELECT budget.id FROM budget JOIN budget_use AS used ON used.budget = budget.id
        WHERE used.reserved_micros + used.spent_micros
              > greatest(budget.limit_micros, used.used_before_micros)
        """,
        Over.RULES,
    ),
    Invariant(
        "gate_limit_untrue",
        "a gate's spending limit is that of its budget",
        """
        SELECT gate.id FROM gate
        LEFT JOIN budget ON budget.scope = 'gate' AND budget.subject = gate.id
        WHERE gate.spending_limit_micros IS DISTINCT FROM budget.limit_micros
        """,
        Over.RULES,
    ),
    Invariant(
        "account_cap_exceeded",
        "what an account's attempts of a period may cost is at most its cap, or what it was when "
        "the cap was set; costs above an estimate and late evidence do not count",
        f"""
        SELECT rule.name AS id FROM account_rule AS rule
        WHERE rule.cap_micros IS NOT NULL
          AND rule.forgotten_micros + {spent_since(STARTS_AT, account="rule.name", stake=_FORESEEN)}
              > greatest(rule.cap_micros, CASE WHEN rule.cap_set_at >= {STARTS_AT}
                                               THEN rule.used_before_micros ELSE 0 END)
        """,  # noqa: S608 - constants
        Over.RULES,
    ),
    Invariant(
        "deposits_untrue",
        "the limit of a prepaid tenant is the sum of its deposits",
        """
        SELECT budget.id FROM budget
        LEFT JOIN ledger_entry ON ledger_entry.tenant = budget.tenant
             AND ledger_entry.account = 'operator:deposits'
             AND ledger_entry.entry_set >= 'deposit ' AND ledger_entry.entry_set < 'deposit!'
        WHERE budget.period = 'prepaid' GROUP BY budget.id
        HAVING budget.limit_micros <> coalesce(-sum(ledger_entry.amount_micros), 0)
        """,
        Over.RULES,
    ),
)

#: Entries that one statement adds up.
_ENTRIES = 50_000
_USES = """
SELECT budget AS id, starts_at, reserved_micros AS reserved, spent_micros AS spent FROM budget_use
"""
_ADDED_UP = f"""
WITH entries AS MATERIALIZED (
    SELECT * FROM ledger_entry WHERE id > %(after)s ORDER BY id LIMIT {_ENTRIES})
SELECT budget.id, used.starts_at,
       coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:reserved'), 0)::bigint
           AS reserved,
       coalesce(sum(amount_micros) FILTER (WHERE account = 'tenant:spent'), 0)::bigint AS spent
FROM budget JOIN budget_use AS used ON used.budget = budget.id
JOIN entries AS ledger_entry ON {COUNTED.format(starts_at="used.starts_at")}
GROUP BY budget.id, used.starts_at
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What a budget holds in a period, or what some entries add to it."""

    id: str
    starts_at: datetime
    reserved: int
    spent: int


async def miscounted(connection: Connection) -> list[str]:
    """The budgets that hold something else than what the ledger holds of their jobs.

    The ledger is added up in pieces: the transaction must see one snapshot.
    """
    uses = await fetch_rows(connection, _Use, _USES)
    left = {(each.id, each.starts_at): (each.reserved, each.spent) for each in uses}
    after: int | None = 0
    while left and after is not None:
        for each in await fetch_rows(connection, _Use, _ADDED_UP, {"after": after}):
            reserved, spent = left[each.id, each.starts_at]
            left[each.id, each.starts_at] = (reserved - each.reserved, spent - each.spent)
        after = await _last_entry(connection, after)
    return sorted({id_ for (id_, _), amounts in left.items() if amounts != (0, 0)})


async def _last_entry(connection: Connection, after: int) -> int | None:
    """The last of the entries that follow; None if there is none."""
    cursor = await connection.execute(
        f"""
        SELECT max(id) AS last FROM (
            SELECT id FROM ledger_entry WHERE id > %s ORDER BY id LIMIT {_ENTRIES}) AS entries
        """,  # noqa: S608 - a constant
        (after,),
    )
    row = await cursor.fetchone()
    return row["last"] if row else None
