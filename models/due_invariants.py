"""Invariants of the due table: it holds what is unfinished, and nothing else."""

from models.holders import FAR
from models.invariant import Invariant, Over

_MISSING = "an unfinished thing has exactly one due row, with its kind, lane and tenant"

#: What is unfinished of jobs, and the kinds of due rows of which each must have exactly one.
_OF_JOBS = """
    SELECT attempt.id, CASE attempt.state WHEN 'planned' THEN ARRAY['submit', 'prepare']
                       ELSE ARRAY['submit'] END AS kinds, attempt.account AS lane, job.tenant
    FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.state IN ('planned', 'sent')
    UNION ALL
    SELECT attempt.id, CASE WHEN EXISTS (
               SELECT 1 FROM output WHERE output.attempt = attempt.id AND output.state = 'expected')
           THEN ARRAY['poll'] ELSE ARRAY['poll', 'cancel'] END, attempt.account, job.tenant
    FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.state = 'accepted'
    UNION ALL
    SELECT output.id, ARRAY['store'], attempt.account, job.tenant
    FROM output JOIN attempt ON attempt.id = output.attempt JOIN job ON job.id = output.job
    WHERE output.state = 'ready' OR output.recovery_asked_at IS NOT NULL
    UNION ALL
    SELECT job.id, ARRAY['expire'],
           CASE WHEN job.batch_line > batch.released_to THEN 'held' ELSE '-' END, job.tenant
    FROM job LEFT JOIN batch ON batch.id = job.batch_id WHERE job.finished_at IS NULL
    UNION ALL
    SELECT job.id, ARRAY['erase'], '-', job.tenant FROM job
    WHERE job.deleted_at IS NOT NULL AND job.erased_at IS NULL
"""
_OF_DELIVERIES = """
    SELECT delivery.id, ARRAY['deliver'] AS kinds, delivery.host AS lane, delivery.tenant
    FROM delivery WHERE delivery.state = 'pending'
"""
_OF_BATCHES = """
    SELECT batch.id, ARRAY['tally'] AS kinds, '-' AS lane, batch.tenant
    FROM batch WHERE batch.finished_at IS NULL
"""


def _missing(unfinished: str, over: Over) -> Invariant:
    return Invariant(
        "due_missing",
        _MISSING,
        f"""
        SELECT unfinished.id FROM ({unfinished}) AS unfinished
        LEFT JOIN due ON due.id = unfinished.id AND due.what = ANY(unfinished.kinds)
             AND due.lane = CASE due.what WHEN 'prepare' THEN due.tenant ELSE unfinished.lane END
             AND due.tenant = unfinished.tenant
        GROUP BY unfinished.id HAVING count(due.id) <> 1
        """,  # noqa: S608 - a constant
        over,
    )


DUE = (
    _missing(_OF_JOBS, Over.JOBS),
    _missing(_OF_DELIVERIES, Over.DELIVERIES),
    _missing(_OF_BATCHES, Over.BATCHES),
    Invariant(
        "due_left_over",
        "a due row names an unfinished thing whose next step is of the row's kind, or a failed "
        "output whose stored object must be removed",
        """
        SELECT due.id FROM due
        LEFT JOIN attempt ON attempt.id = due.id LEFT JOIN output ON output.id = due.id
        LEFT JOIN delivery ON delivery.id = due.id LEFT JOIN job ON job.id = due.id
        LEFT JOIN batch ON batch.id = due.id
        WHERE due.what <> 'look_up' AND CASE due.what
            WHEN 'submit' THEN attempt.state IN ('planned', 'sent')
            WHEN 'prepare' THEN attempt.state = 'planned'
            WHEN 'poll' THEN attempt.state = 'accepted'
            WHEN 'cancel' THEN attempt.state = 'accepted' AND NOT EXISTS (
                SELECT 1 FROM output
                WHERE output.attempt = attempt.id AND output.state = 'expected')
            WHEN 'store' THEN output.state IN ('ready', 'failed')
                              OR output.recovery_asked_at IS NOT NULL
            WHEN 'deliver' THEN delivery.state = 'pending'
            WHEN 'expire' THEN job.id IS NOT NULL AND NOT job.state = ANY(%(final)s)
            WHEN 'tally' THEN batch.id IS NOT NULL AND batch.finished_at IS NULL
            WHEN 'erase' THEN job.deleted_at IS NOT NULL AND job.erased_at IS NULL
            ELSE false END IS NOT TRUE
        """,
        Over.DUE,
    ),
    Invariant(
        "watched_by_nobody",
        "a poll whose time is years away is watched by a holder that is known",
        f"""
        SELECT due.id FROM due LEFT JOIN holder ON holder.id = due.lease
        WHERE due.what = 'poll' AND due.at > now() + {FAR / 2} * interval '1 second'
          AND holder.id IS NULL
        """,  # noqa: S608 - a constant
        Over.DUE,
    ),
    Invariant(
        "look_up_of_known",
        "a look-up is due only for an unknown attempt",
        """
        SELECT due.id FROM due LEFT JOIN attempt ON attempt.id = due.id
        WHERE due.what = 'look_up' AND attempt.state IS DISTINCT FROM 'unknown'
        """,
        Over.DUE,
    ),
    Invariant(
        "unknown_forgotten",
        "a look-up is due for every unknown attempt whose videos are still expected",
        """
        SELECT attempt.id FROM attempt
        WHERE attempt.state = 'unknown'
          AND EXISTS (SELECT 1 FROM output WHERE output.attempt = attempt.id
                      AND output.state IN ('expected', 'ready'))
          AND NOT EXISTS (SELECT 1 FROM due WHERE due.what = 'look_up' AND due.id = attempt.id)
        """,
    ),
)
