"""Invariants that hold after every commit, as named SQL: what `longtake doctor` checks.

Each query selects the ids of the rows that violate its sentence. All of them run as one statement,
so they see one snapshot and can run beside workers.
"""

from dataclasses import dataclass

from models.audit import MONEY
from models.database import Connection
from models.invariant import Invariant
from models.state import FINAL_JOB_STATES, JOB_NEXT, JobState

#: Maximum violations reported per invariant.
MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A row that violates an invariant."""

    kind: str
    #: The id of the job, attempt, output or delivery, or the id in the due row.
    id: str
    #: The sentence that it violates.
    words: str


async def violations(connection: Connection) -> list[Violation]:
    """The violations now, up to `MOST` of each invariant."""
    words = {invariant.kind: invariant.words for invariant in INVARIANTS}
    cursor = await connection.execute(
        _ALL,
        {
            "from": [state for state, after in JOB_NEXT.items() for _ in after],
            "to": [state for after in JOB_NEXT.values() for state in after],
            "states": list(JobState),
            "final": sorted(FINAL_JOB_STATES),
            "most": MOST,
        },
        prepare=True,
    )
    return [
        Violation(kind=row["kind"], id=row["id"], words=words[row["kind"]])
        for row in await cursor.fetchall()
    ]


#: Every unfinished thing, and the kinds of due rows of which it must have exactly one.
_UNFINISHED = """
    SELECT attempt.id, ARRAY['submit'] AS kinds, attempt.account AS lane, job.tenant
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
    SELECT delivery.id, ARRAY['deliver'], delivery.host, delivery.tenant
    FROM delivery WHERE delivery.state = 'pending'
    UNION ALL
    SELECT job.id, ARRAY['expire'], '-', job.tenant FROM job WHERE NOT job.state = ANY(%(final)s)
    UNION ALL
    SELECT job.id, ARRAY['erase'], '-', job.tenant FROM job
    WHERE job.deleted_at IS NOT NULL AND job.erased_at IS NULL
"""

INVARIANTS = (
    # -- the due table: what is unfinished, and nothing else ------------------------------------
    Invariant(
        "due_missing",
        "an unfinished thing has exactly one due row, with its kind, lane and tenant",
        f"""
        SELECT unfinished.id FROM ({_UNFINISHED}) AS unfinished
        LEFT JOIN due ON due.id = unfinished.id AND due.what = ANY(unfinished.kinds)
             AND due.lane = unfinished.lane AND due.tenant = unfinished.tenant
        GROUP BY unfinished.id HAVING count(due.id) <> 1
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "due_left_over",
        "a due row names an unfinished thing whose next step is of the row's kind, or a failed "
        "output whose stored object must be removed",
        f"""
        SELECT due.id FROM due
        WHERE due.what <> 'look_up' AND NOT EXISTS (
            SELECT 1 FROM ({_UNFINISHED}) AS unfinished
            WHERE unfinished.id = due.id AND due.what = ANY(unfinished.kinds))
          AND NOT (due.what = 'store' AND EXISTS (
            SELECT 1 FROM output WHERE output.id = due.id AND output.state = 'failed'))
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "look_up_of_known",
        "a look-up is due only for an unknown attempt",
        """
        SELECT due.id FROM due LEFT JOIN attempt ON attempt.id = due.id
        WHERE due.what = 'look_up' AND attempt.state IS DISTINCT FROM 'unknown'
        """,
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
    # -- jobs -----------------------------------------------------------------------------------
    Invariant(
        "job_ending",
        "a job has finished_at and a cost if and only if it is final",
        """
        SELECT id FROM job
        WHERE (state = ANY(%(final)s)) <> (finished_at IS NOT NULL)
           OR (state = ANY(%(final)s)) <> (cost_micros IS NOT NULL)
        """,
    ),
    Invariant(
        "job_unexplained",
        "a failed job has an error, and a complete job has none",
        """
        SELECT id FROM job
        WHERE (state = 'failed' AND error IS NULL) OR (state = 'complete' AND error IS NOT NULL)
        """,
    ),
    Invariant(
        "job_progress",
        "progress is 100 if and only if the job is complete",
        "SELECT id FROM job WHERE (progress_percent = 100) <> (state = 'complete')",
    ),
    Invariant(
        "job_ahead",
        "no attempt of a pending job was sent, and one was accepted from processing on",
        """
        SELECT job.id FROM job LEFT JOIN attempt ON attempt.job = job.id
        WHERE job.state IN ('processing', 'storing', 'complete') GROUP BY job.id
        HAVING count(attempt.operation_id) = 0
        UNION ALL
        SELECT job.id FROM job JOIN attempt ON attempt.job = job.id
        WHERE job.state = 'pending' AND attempt.sent_at IS NOT NULL
        """,
    ),
    Invariant(
        "job_deleted",
        "a deleted job is final, and once it is erased it has no prompt, request, webhook, "
        "delivery, link or stored video",
        """
        SELECT id FROM job
        WHERE (deleted_at IS NOT NULL AND NOT state = ANY(%(final)s))
           OR (erased_at IS NOT NULL AND (deleted_at IS NULL OR prompt <> ''
               OR request <> '{}' OR webhook IS NOT NULL))
        UNION ALL
        SELECT job.id FROM job JOIN output ON output.job = job.id
        WHERE job.erased_at IS NOT NULL AND (output.key IS NOT NULL OR output.source IS NOT NULL)
        UNION ALL
        SELECT job.id FROM job JOIN delivery ON delivery.job = job.id
        WHERE job.erased_at IS NOT NULL
        """,
    ),
    # -- events ---------------------------------------------------------------------------------
    Invariant(
        "events_illegal",
        "a job's events begin with pending, and each is a legal transition",
        """
        SELECT step.job AS id FROM (
            SELECT job, kind, lag(kind) OVER (PARTITION BY job ORDER BY id) AS before
            FROM event WHERE kind = ANY(%(states)s)) AS step
        WHERE CASE WHEN step.before IS NULL THEN step.kind <> 'pending'
                   ELSE (step.before, step.kind) NOT IN (
                       SELECT * FROM unnest(%(from)s::text[], %(to)s::text[])) END
        """,
    ),
    Invariant(
        "events_end_elsewhere",
        "a job's last transition event is its state",
        """
        SELECT job.id FROM job LEFT JOIN LATERAL (
            SELECT kind FROM event WHERE event.job = job.id AND kind = ANY(%(states)s)
            ORDER BY event.id DESC LIMIT 1) AS latest ON true
        WHERE latest.kind IS DISTINCT FROM job.state
        """,
    ),
    # -- attempts -------------------------------------------------------------------------------
    Invariant(
        "attempt_evidence",
        "an attempt has sent_at and a payload hash once it was sent, and not before; one that is "
        "known from evidence alone has no payload hash",
        """
        SELECT id FROM attempt
        WHERE (state IN ('sent', 'unknown', 'accepted', 'refused', 'succeeded')
               AND sent_at IS NULL)
           OR (state IN ('sent', 'unknown', 'refused') AND payload_hash IS NULL)
           OR (state = 'planned' AND (sent_at IS NOT NULL OR payload_hash IS NOT NULL))
        """,
    ),
    Invariant(
        "attempt_operation",
        "an attempt has an operation id if and only if it was accepted",
        """
        SELECT id FROM attempt
        WHERE (accepted_at IS NULL) <> (operation_id IS NULL)
           OR (state IN ('accepted', 'succeeded') AND operation_id IS NULL)
           OR (state IN ('planned', 'sent', 'unknown', 'refused') AND operation_id IS NOT NULL)
        """,
    ),
    Invariant(
        "attempt_ending",
        "an attempt has finished_at if and only if it is final",
        """
        SELECT id FROM attempt
        WHERE (state IN ('refused', 'succeeded', 'failed', 'cancelled'))
              <> (finished_at IS NOT NULL)
        """,
    ),
    Invariant(
        "attempt_unwanted",
        "a final job has no planned attempt",
        """
        SELECT attempt.id FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.state = 'planned' AND job.state = ANY(%(final)s)
        """,
    ),
    Invariant(
        "planned_for_nobody",
        "a planned attempt has as many expected outputs as it is to make",
        """
        SELECT attempt.id FROM attempt WHERE attempt.state = 'planned' AND attempt.count <> (
            SELECT count(*) FROM output
            WHERE output.attempt = attempt.id AND output.state = 'expected')
        """,
    ),
    Invariant(
        "parked_and_sent",
        "an attempt that a restore parked is not sent before it is released",
        """
        SELECT id FROM attempt
        WHERE parked_at IS NOT NULL AND state IN ('sent', 'unknown', 'refused')
        """,
    ),
    Invariant(
        "paid_twice",
        "attempts that may be charged make no more videos than the job asks for, unless its policy "
        "is at_least_once; one whose failure its provider told, and whose gate moved on, is none",
        """
        SELECT job.id FROM job JOIN attempt ON attempt.job = job.id
        WHERE job.unknown_policy <> 'at_least_once'
          AND attempt.state <> 'refused' AND attempt.sent_at IS NOT NULL
          AND NOT (attempt.state = 'failed' AND EXISTS (
                  SELECT 1 FROM attempt AS hop
                  WHERE hop.job = job.id AND hop.replaces = attempt.id
                    AND hop.choice <> attempt.choice))
        GROUP BY job.id
        HAVING sum(attempt.count) > (SELECT count(*) FROM output WHERE output.job = job.id)
        """,
    ),
    Invariant(
        "hop_in_doubt",
        "no hop follows an attempt that may still be sent or be accepted: every attempt before it "
        "was refused, or its end is known",
        """
        WITH RECURSIVE earlier (hop, id) AS (
            SELECT attempt.id, before.id FROM attempt
            JOIN attempt AS before ON before.id = attempt.replaces
            WHERE attempt.choice <> before.choice
            UNION
            SELECT earlier.hop, attempt.replaces FROM earlier JOIN attempt USING (id)
            WHERE attempt.replaces IS NOT NULL)
        SELECT earlier.hop AS id FROM earlier JOIN attempt USING (id)
        WHERE attempt.state IN ('planned', 'sent', 'unknown') GROUP BY earlier.hop
        """,
    ),
    # -- outputs --------------------------------------------------------------------------------
    Invariant(
        "output_unfit",
        "outputs fit their job: numbered from 0, all final when it is final, one stored by its end "
        "if it is complete and none if it failed, and recovered only afterwards",
        """
        SELECT job.id FROM job LEFT JOIN output ON output.job = job.id GROUP BY job.id
        HAVING count(output.id) = 0 OR max(output.position) <> count(*) - 1
            OR (job.state = ANY(%(final)s) AND bool_or(output.state IN ('expected', 'ready')))
            OR (job.state = 'complete'
                AND NOT bool_or(output.state = 'stored' AND output.recovered_at IS NULL))
            OR (job.state = 'failed'
                AND bool_or(output.state = 'stored' AND output.recovered_at IS NULL))
            OR (job.state NOT IN ('complete', 'failed') AND bool_or(
                output.recovered_at IS NOT NULL OR output.recovery_asked_at IS NOT NULL))
            OR (NOT job.state = ANY(%(final)s)
                AND NOT bool_or(output.state IN ('expected', 'ready')))
        """,
    ),
    Invariant(
        "output_orphaned",
        "an expected output has an attempt that can still make it, a ready one the one that did",
        """
        SELECT output.id FROM output JOIN attempt ON attempt.id = output.attempt
        WHERE attempt.job <> output.job
           OR (output.state = 'expected'
               AND attempt.state NOT IN ('planned', 'sent', 'unknown', 'accepted'))
           OR (output.state IN ('ready', 'stored') AND attempt.state <> 'succeeded')
        """,
    ),
    Invariant(
        "output_without_video",
        "a stored output has hash, size and time, and a key until it is deleted; a ready one has a "
        "link, which a failed one may keep unless its job was cancelled; only a stored one was "
        "recovered, and only a failed one has a requested recovery",
        """
        SELECT output.id FROM output JOIN job ON job.id = output.job
        WHERE (output.state = 'stored' AND (
                   (key IS NULL) <> (output.deleted_at IS NOT NULL) OR sha256 IS NULL
                   OR stored_at IS NULL OR coalesce(bytes, 0) <= 0))
           OR (output.state = 'ready' AND source IS NULL)
           OR (output.state IN ('expected', 'stored') AND source IS NOT NULL)
           OR (output.state = 'failed' AND (
                   output.error IS NULL OR (job.state = 'cancelled' AND source IS NOT NULL)))
           OR (output.state <> 'stored'
               AND (recovered_at IS NOT NULL OR output.deleted_at IS NOT NULL))
           OR (output.state <> 'failed' AND recovery_asked_at IS NOT NULL)
        """,
    ),
    # -- deliveries -----------------------------------------------------------------------------
    Invariant(
        "delivery_count",
        "a final job with a webhook has one video event, or records that it could not be made; no "
        "other job has any",
        """
        SELECT job.id FROM job LEFT JOIN delivery
             ON delivery.job = job.id AND delivery.type LIKE 'video.%%'
        GROUP BY job.id
        HAVING count(delivery.id)
            <> (job.webhook IS NOT NULL AND job.state = ANY(%(final)s) AND NOT EXISTS (
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
    ),
    Invariant(
        "delivery_tries",
        "a delivery's tries are numbered 1, 2, … as many as it counts",
        """
        SELECT delivery.id FROM delivery LEFT JOIN delivery_try AS made
             ON made.delivery = delivery.id
        GROUP BY delivery.id
        HAVING count(made.id) <> delivery.tries OR coalesce(max(made.number), 0) <> delivery.tries
        """,
    ),
    Invariant(
        "delivery_ending",
        "a delivery has finished_at if and only if it is not pending",
        "SELECT id FROM delivery WHERE (state = 'pending') <> (finished_at IS NULL)",
    ),
    *MONEY,
    # -- tenants --------------------------------------------------------------------------------
    Invariant(
        "key_of_another",
        "an Idempotency-Key belongs to the tenant of its job",
        """
        SELECT job.id FROM idempotency JOIN job ON job.id = idempotency.job
        WHERE job.tenant <> idempotency.tenant
        """,
    ),
)

_ALL = "\nUNION ALL\n".join(
    f"(SELECT '{each.kind}' AS kind, broken.id FROM ({each.sql}) AS broken LIMIT %(most)s)"  # noqa: S608 - constants
    for each in INVARIANTS
)
