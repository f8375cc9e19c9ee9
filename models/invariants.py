"""Invariants that hold after every commit, as named SQL: what `longtake doctor` checks.

Each query selects the ids of the rows that violate its sentence. They are read in pieces, so that
no statement takes long and memory stays flat, and all of them in one snapshot, beside workers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from models.audit import MONEY, miscounted
from models.batch_invariants import BATCHES
from models.database import Connection, fetch_row
from models.delivery_invariants import DELIVERIES
from models.due_invariants import DUE
from models.invariant import PIECES, Invariant, Over
from models.pictures import PICTURES
from models.rows.upkeep import Reached
from models.state import FINAL_JOB_STATES, JOB_NEXT, JobState
from models.usage import USAGE

#: Maximum violations reported per invariant.
MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A row that violates an invariant."""

    kind: str
    #: The id of the job, attempt, output, delivery or batch, or the id in the due row.
    id: str
    #: The sentence that it violates.
    words: str


#: Told after each piece: what is looked at, and how many of these have been.
Progress = Callable[[Over, int], None]


async def violations(
    connection: Connection, *, progress: Progress | None = None
) -> list[Violation]:
    """The violations now, up to `MOST` of each invariant.

    Must come first in its transaction, whose statements then all see the same snapshot.
    """
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    # Planned for a piece's ids, some statements take it for one row and join by nested loops.
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    found = _Found()
    for over, statement in STATEMENTS.items():
        if over not in PIECES:
            await found.add(connection, statement, {})
            continue
        after, number = "", 0
        while (piece := await _next_piece(connection, over, after)).last is not None:
            await found.add(connection, statement, {"after": after, "to": piece.last})
            after, number = piece.last, number + piece.number
            if progress is not None:
                progress(over, number)
    found.note("budget_miscounted", await miscounted(connection))
    return [each for of_kind in found.by_kind.values() for each in of_kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """The last id of a piece, None behind the last piece, and the number of things in it."""

    last: str | None
    number: int


async def _next_piece(connection: Connection, over: Over, after: str) -> _Piece:
    piece = await fetch_row(connection, _Piece, PIECES[over].next, {"after": after})
    assert piece is not None  # noqa: S101 - an aggregate
    return piece


@dataclass(slots=True)
class _Found:
    """Violations by kind."""

    by_kind: dict[str, list[Violation]] = field(default_factory=dict)

    async def add(self, connection: Connection, sql: str, piece: Mapping[str, str]) -> None:
        cursor = await connection.execute(sql, _VALUES | dict(piece), prepare=True)
        for row in await cursor.fetchall():
            self.note(row["kind"], [row["id"]])

    def note(self, kind: str, ids: Sequence[str]) -> None:
        of_kind = self.by_kind.setdefault(kind, [])
        words = WORDS[kind]
        more = [Violation(kind=kind, id=id_, words=words) for id_ in ids]
        of_kind += more[: MOST - len(of_kind)]


_VALUES: Final[dict[str, Any]] = {
    "from": [state for state, after in JOB_NEXT.items() for _ in after],
    "to_state": [state for after in JOB_NEXT.values() for state in after],
    "states": list(JobState),
    "final": sorted(FINAL_JOB_STATES),
    "most": MOST,
}

#: SQL: whether retention has kept all events of a `job`.
_HAS_EVENTS = f"""(job.finished_at IS NULL OR job.finished_at > coalesce(
    (SELECT reached_at FROM upkeep WHERE kind = '{Reached.EVENTS}'), '-infinity'))"""  # noqa: S608 - a constant

_OWN_KEY = "an Idempotency-Key belongs to the tenant of its job or batch"

INVARIANTS = (
    *DUE,
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
               OR request <> '{}' OR metadata_text IS NOT NULL OR webhook IS NOT NULL))
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
        f"""
        SELECT step.job AS id FROM (
            SELECT job, kind, lag(kind) OVER (PARTITION BY job ORDER BY event.id) AS before
            FROM event JOIN job ON job.id = event.job
            WHERE kind = ANY(%(states)s) AND {_HAS_EVENTS}) AS step
        WHERE CASE WHEN step.before IS NULL THEN step.kind <> 'pending'
                   ELSE (step.before, step.kind) NOT IN (
                       SELECT * FROM unnest(%(from)s::text[], %(to_state)s::text[])) END
        """,  # noqa: S608 - a constant
    ),
    Invariant(
        "events_end_elsewhere",
        "a job's last transition event is its state",
        f"""
        SELECT job.id FROM job LEFT JOIN LATERAL (
            SELECT kind FROM event WHERE event.job = job.id AND kind = ANY(%(states)s)
            ORDER BY event.id DESC LIMIT 1) AS latest ON true
        WHERE latest.kind IS DISTINCT FROM job.state AND {_HAS_EVENTS}
        """,  # noqa: S608 - a constant
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
        SELECT job.id FROM job LEFT JOIN output ON output.job = job.id GROUP BY job.id, job.state
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
        SELECT output.id FROM output
        LEFT JOIN attempt ON attempt.id = output.attempt AND attempt.job = output.job
        WHERE attempt.id IS NULL
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
    *DELIVERIES,
    *MONEY,
    *USAGE,
    *BATCHES,
    *PICTURES,
    # -- tenants --------------------------------------------------------------------------------
    Invariant(
        "key_of_another",
        _OWN_KEY,
        """
        SELECT job.id FROM idempotency JOIN job ON job.id = idempotency.job
        WHERE job.tenant <> idempotency.tenant
        """,
    ),
    Invariant(
        "key_of_another",
        _OWN_KEY,
        """
        SELECT batch.id FROM idempotency JOIN batch ON batch.id = idempotency.batch
        WHERE batch.tenant <> idempotency.tenant
        """,
        Over.BATCHES,
    ),
    # -- the storage ----------------------------------------------------------------------------
    Invariant(
        "removal_of_kept",
        "no object that an output names is to be removed",
        """
        SELECT output.id FROM output JOIN removal ON removal.key = output.key
        UNION ALL
        SELECT output.id FROM output JOIN removal
            ON removal.key IN (output.key || '.poster.jpg', output.key || '.sheet.jpg')
        WHERE output.stills_bytes > 0
        """,
    ),
)

WORDS: Final = {each.kind: each.words for each in INVARIANTS}


def _statement(over: Over, invariants: Sequence[Invariant]) -> str:
    """All invariants of one kind of things, as one statement about a piece."""
    narrowed = f"WITH {PIECES[over].narrowed}" if over in PIECES else ""
    every = "\nUNION ALL\n".join(
        f"(SELECT '{each.kind}' AS kind, broken.id FROM ({each.sql}) AS broken LIMIT %(most)s)"  # noqa: S608 - constants
        for each in invariants
    )
    return f"{narrowed}\n{every}"


STATEMENTS: Final = {
    over: _statement(over, list(invariants))
    for over, invariants in groupby(sorted(INVARIANTS, key=attrgetter("over")), attrgetter("over"))
}
