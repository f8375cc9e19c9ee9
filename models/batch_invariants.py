"""Invariants of batches: their counts, what is held of them, and how they end.

The counts of a batch are its row plus the sum of its changes. Old lines of a final batch are
deleted before it, so its counts and its cost are compared while all its lines are there.
"""

from models.invariant import Invariant, Over
from models.rows.batches import COUNTS
from models.state import PUBLIC_STATUS

_STATUSES = tuple(dict.fromkeys(PUBLIC_STATUS.values()))
_IS_PUBLIC = {
    status: "job.state IN ({})".format(
        ", ".join(f"'{state}'" for state, shown in PUBLIC_STATUS.items() if shown == status)
    )
    for status in _STATUSES
}
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in COUNTS)
_COUNTED = " OR ".join(
    f"batch.{name} + coalesce(change.{name}, 0) <> found.{name}" for name in (*_STATUSES, "running")
)
_BY_STATUS = ", ".join(
    f"count(*) FILTER (WHERE {words}) AS {status}" for status, words in _IS_PUBLIC.items()
)
_CHANGES = f"(SELECT batch AS id, {_SUMS} FROM batch_change GROUP BY batch)"  # noqa: S608 - constants
_EVENT = "a final batch with a webhook has one batch.completed, and no other batch has any"

BATCHES = (
    Invariant(
        "batch_miscounted",
        "a batch counts its lines by status, and as running those that were released and have not "
        "ended; it has all its lines until it is final",
        f"""
        SELECT batch.id FROM batch LEFT JOIN {_CHANGES} AS change USING (id)
        CROSS JOIN LATERAL (
            SELECT count(*) AS lines, {_BY_STATUS},
                   count(*) FILTER (WHERE NOT job.state = ANY(%(final)s)
                                    AND job.batch_line <= batch.released_to) AS running
            FROM job WHERE job.batch_id = batch.id) AS found
        WHERE CASE WHEN batch.finished_at IS NOT NULL AND found.lines < batch.lines
              THEN batch.running <> 0 ELSE found.lines <> batch.lines OR {_COUNTED} END
        """,  # noqa: S608 - constants
        Over.BATCHES,
    ),
    Invariant(
        "batch_overrun",
        "no more lines of a batch run at a time than its concurrency allows",
        f"""
        SELECT batch.id FROM batch LEFT JOIN {_CHANGES} AS change USING (id)
        WHERE batch.running + coalesce(change.running, 0) > batch.concurrency
        """,  # noqa: S608 - constants
        Over.BATCHES,
    ),
    Invariant(
        "line_not_held",
        "a held line is not sent: its attempts are planned and due in years, unless a restore "
        "parked them, and only held lines have the lane of held ones",
        """
        SELECT job.id FROM job JOIN batch ON batch.id = job.batch_id
        JOIN attempt ON attempt.job = job.id
        LEFT JOIN due ON due.what = 'submit' AND due.id = attempt.id
        WHERE job.batch_line > batch.released_to AND NOT job.state = ANY(%(final)s)
          AND attempt.parked_at IS NULL
          AND (attempt.state = 'planned' AND due.at < now() + interval '1 year'
               OR attempt.state IN ('sent', 'unknown'))
        """,
    ),
    Invariant(
        "line_held_for_ever",
        "a released line is due to be sent, unless a restore parked it or its time has not come",
        """
        SELECT job.id FROM job JOIN batch ON batch.id = job.batch_id
        JOIN attempt ON attempt.job = job.id AND attempt.state = 'planned'
        JOIN due ON due.what = 'submit' AND due.id = attempt.id
        WHERE job.batch_line <= batch.released_to AND attempt.parked_at IS NULL
          AND due.at > greatest(now(), job.run_at, job.deadline_at) + interval '1 year'
        """,
    ),
    Invariant(
        "batch_ending",
        "all lines of a final batch have ended, and all its changes are in its row",
        """
        SELECT batch.id FROM batch WHERE finished_at IS NOT NULL AND (
            EXISTS (SELECT FROM job WHERE batch_id = batch.id AND NOT job.state = ANY(%(final)s))
            OR EXISTS (SELECT FROM batch_change WHERE batch = batch.id))
        """,
        Over.BATCHES,
    ),
    Invariant(
        "batch_cost",
        # As the ledger charged them: `ledger_of_job` compares each with its entries.
        "a batch has cost what its lines have cost, and holds what was reserved for those that "
        "have not ended",
        f"""
        SELECT batch.id FROM batch LEFT JOIN {_CHANGES} AS change USING (id)
        CROSS JOIN LATERAL (
            SELECT count(*) AS lines,
                   coalesce(sum(cost_micros) FILTER (WHERE state = ANY(%(final)s)), 0) AS spent,
                   coalesce(sum(reserved_micros)
                            FILTER (WHERE NOT state = ANY(%(final)s)), 0) AS held
            FROM job WHERE batch_id = batch.id) AS found
        WHERE found.lines = batch.lines
          AND (batch.charged_micros + coalesce(change.charged_micros, 0) <> found.spent
               OR batch.reserved_micros + coalesce(change.reserved_micros, 0) <> found.held)
        """,  # noqa: S608 - constants
        Over.BATCHES,
    ),
    Invariant(
        "batch_event",
        _EVENT,
        """
        SELECT batch.id FROM batch LEFT JOIN delivery
             ON delivery.batch = batch.id AND delivery.type = 'batch.completed'
        GROUP BY batch.id, batch.webhook IS NULL, batch.finished_at
        HAVING count(delivery.id)
               <> (NOT batch.webhook IS NULL AND batch.finished_at IS NOT NULL)::int
        """,
        Over.BATCHES,
    ),
    Invariant(
        "batch_event",
        _EVENT,
        """
        SELECT delivery.id FROM delivery LEFT JOIN batch ON batch.id = delivery.batch
        WHERE delivery.type LIKE 'batch.%%'
          AND (batch.id IS NULL OR batch.tenant <> delivery.tenant)
        """,
        Over.DELIVERIES,
    ),
)
