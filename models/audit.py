"""The invariants of money: the ledger against the jobs, and the budgets against the ledger."""

from models.accounts import STARTS_AT, spent_since
from models.budgets import COUNTED
from models.estimate import AT_STAKE, COST_TO_US, ESTIMATE_WHEN_SENT
from models.invariant import Invariant
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
        WHERE job.state = ANY(%(final)s) GROUP BY job.id
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
             AND NOT EXISTS (SELECT 1 FROM ledger_entry WHERE ledger_entry.attempt = attempt.id)
        WHERE job.state = ANY(%(final)s) GROUP BY job.id, absorbed.amount
        HAVING greatest(coalesce(sum({COST_TO_US}), 0) - job.cost_micros, 0)
               <> coalesce(absorbed.amount, 0)
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "budget_miscounted",
        "a budget holds what the ledger holds of its jobs in its period",
        f"""
        SELECT budget.id FROM budget JOIN budget_use AS used ON used.budget = budget.id
        LEFT JOIN ledger_entry ON {COUNTED.format(starts_at="used.starts_at")}
        GROUP BY budget.id, used.starts_at, used.reserved_micros, used.spent_micros
        HAVING used.reserved_micros <> coalesce(
                   sum(amount_micros) FILTER (WHERE account = 'tenant:reserved'), 0)
            OR used.spent_micros <> coalesce(
                   sum(amount_micros) FILTER (WHERE account = 'tenant:spent'), 0)
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "budget_exceeded",
        "no budget holds more than its limit, or than it held when the limit was set",
        """
        SELECT budget.id FROM budget JOIN budget_use AS used ON used.budget = budget.id
        WHERE used.reserved_micros + used.spent_micros
              > greatest(budget.limit_micros, used.used_before_micros)
        """,
    ),
    Invariant(
        "gate_limit_untrue",
        "a gate's spending limit is that of its budget",
        """
        SELECT gate.id FROM gate
        LEFT JOIN budget ON budget.scope = 'gate' AND budget.subject = gate.id
        WHERE gate.spending_limit_micros IS DISTINCT FROM budget.limit_micros
        """,
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
    ),
    Invariant(
        "deposits_untrue",
        "the limit of a prepaid tenant is the sum of its deposits",
        """
        SELECT budget.id FROM budget
        LEFT JOIN ledger_entry ON ledger_entry.tenant = budget.tenant
             AND ledger_entry.account = 'operator:deposits'
        WHERE budget.period = 'prepaid' GROUP BY budget.id
        HAVING budget.limit_micros <> coalesce(-sum(ledger_entry.amount_micros), 0)
        """,
    ),
)
