"""Invariants of deliveries: one for each event, and their tries."""

from models.invariant import Invariant, Over
from models.rows.upkeep import Reached

#: SQL: whether retention has kept all tries of a `delivery`.
_HAS_TRIES = f"""delivery.created_at > coalesce(
    (SELECT reached_at FROM upkeep WHERE kind = '{Reached.TRIES}'), '-infinity')"""  # noqa: S608 - a constant

DELIVERIES = (
    Invariant(
        "delivery_count",
        "a final job with a webhook has one video event, or records that it could not be made; no "
        "other job has any",
        """
        SELECT job.id FROM job LEFT JOIN delivery
             ON delivery.job = job.id AND delivery.type LIKE 'video.%%'
        GROUP BY job.id, job.state, job.webhook IS NULL
        HAVING count(delivery.id)
            <> (NOT job.webhook IS NULL AND job.state = ANY(%(final)s) AND NOT EXISTS (
                    SELECT 1 FROM event
                    WHERE event.job = job.id AND event.kind = 'webhook.unannounced'))::int
        """,
    ),
    Invariant(
        "delivery_untrue",
        "a video event tells the final state of a job of its own tenant",
        """
        SELECT delivery.id FROM delivery LEFT JOIN job ON job.id = delivery.job
        WHERE delivery.type LIKE 'video.%%'
          AND (job.id IS NULL OR delivery.tenant <> job.tenant OR delivery.type <> CASE job.state
                  WHEN 'complete' THEN 'video.completed' ELSE 'video.' || job.state END)
        """,
        Over.DELIVERIES,
    ),
    Invariant(
        "delivery_tries",
        "a delivery's tries are numbered 1, 2, … as many as it counts",
        f"""
        SELECT delivery.id FROM delivery LEFT JOIN delivery_try AS made
             ON made.delivery = delivery.id
        WHERE {_HAS_TRIES} GROUP BY delivery.id, delivery.tries
        HAVING count(made.id) <> delivery.tries OR coalesce(max(made.number), 0) <> delivery.tries
        """,  # noqa: S608 - a constant
        Over.DELIVERIES,
    ),
    Invariant(
        "delivery_ending",
        "a delivery has finished_at if and only if it is not pending",
        "SELECT id FROM delivery WHERE (state = 'pending') <> (finished_at IS NULL)",
        Over.DELIVERIES,
    ),
)
