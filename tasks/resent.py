"""Submissions without an Idempotency-Key: which of them is an earlier one, sent again.

Many clients send a POST again after an error and name nothing that tells a repeat from a second
order. So each such submission is kept for a while with what is known of its answer, and an
identical one is taken for its repeat if the client says so, or if the answer did not go out.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Final, TypeVar

from models.database import Connection, fetch_row, fetch_rows
from models.failure import RequestRefused
from models.records import Json
from models.rows.submissions import AnswerState
from tasks.engine import Engine

T = TypeVar("T")

#: For how long after its request, or its last repeat, a submission is known again.
WINDOW_SECONDS: Final = 600
#: An answer that is open for longer comes no more: a process that still works on one says so more
#: often (`still_answering`).
OPEN_SECONDS: Final = 5.0
#: How often the state of an open answer is looked at, in seconds: at first, and at last.
_PAUSES: Final = (0.01, 0.2)


@dataclass(slots=True, kw_only=True)
class Unkeyed:
    """A submission without an Idempotency-Key, which may be an earlier one sent again."""

    id: str
    fingerprint: bytes
    #: How often its client says that it has sent it before; None if it does not say.
    retries: int | None = None
    #: Whether its client has disconnected.
    is_gone: Callable[[], Awaitable[bool]]
    #: When it arrived, by `time.monotonic()`.
    arrived: float = field(default_factory=time.monotonic)
    #: The same by the database's clock, from the first look for earlier ones on.
    arrived_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier submission of the same, as a later one finds it."""

    id: str
    job: str | None
    state: AnswerState
    given: int
    at: datetime
    #: The process that should have answered it has died.
    is_stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The job of an earlier submission, and what its answer showed."""

    job: str
    deleted_at: datetime | None
    response: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the answer to a submission."""

    id: str
    fingerprint: bytes
    #: As of its `Unkeyed`.
    retries: int | None = None
    is_written: bool
    #: The response's HTTP status; 0 if none was begun.
    status: int

    @property
    def may_be_retried(self) -> bool:
        """Whether it made no job, as far as the status says, and its client will count a retry.

        A retry that met our own error may have a job, that of an earlier try.
        """
        if self.retries is None:
            return False
        return self.status in _SENT_AGAIN or (self.status >= _OURS and self.retries == 0)


class Verdict(Enum):
    """What a submission is that repeats none."""

    NEW = auto()
    #: An earlier one is being answered: it is seen in a moment whether the answer goes out.
    UNDECIDED = auto()
    #: Its client has disconnected, and an identical one has a job.
    UNWANTED = auto()


class StillOpen(Exception):
    """An identical submission is being answered; ask again in a moment."""


def fingerprint(*parts: str | bytes) -> bytes:
    """SHA-256 of who asks for what: the key, the app, the route and the body's hash."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8) + content)
    return digest.digest()


def judge(
    earlier: Sequence[Earlier],
    *,
    own: str,
    retries: int | None,
    arrived_at: datetime,
    is_gone: bool,
) -> Earlier | Verdict:
    """The earlier submission that this one repeats, or what it is instead.

    A refused one stands for a request that made no job: its retry makes one.
    """
    if mine := next((each for each in earlier if each.id == own), None):
        return mine  # its commit was applied and not confirmed
    jobs = [each for each in earlier if each.state is not AnswerState.REFUSED]
    if is_gone and jobs:
        return Verdict.UNWANTED
    if lost := [each for each in jobs if _is_lost(each)]:
        return min(lost, key=lambda each: each.at)
    # Those that were accepted after this one had arrived are no answer that it could have missed.
    if any(each.state is AnswerState.OPEN and each.at <= arrived_at for each in jobs):
        return Verdict.UNDECIDED
    return _retried(earlier, jobs, retries) if retries else Verdict.NEW


def _retried(
    earlier: Sequence[Earlier], jobs: Sequence[Earlier], retries: int
) -> Earlier | Verdict:
    """What a client's own retry repeats, although no answer is known to be lost."""
    if refused := [each for each in earlier if each.state is AnswerState.REFUSED]:
        return min(refused, key=lambda each: each.at)
    return max(jobs, key=lambda each: _likeness(each, retries), default=Verdict.NEW)


def _is_lost(each: Earlier) -> bool:
    return each.state is AnswerState.LOST or (each.state is AnswerState.OPEN and each.is_stale)


def _likeness(each: Earlier, retries: int) -> tuple[bool, int, datetime]:
    """The first of a client's n-th retry was most likely given n - 1 times, and is the newest."""
    is_earlier = each.given < retries
    return is_earlier, each.given if is_earlier else -each.given, each.at


async def first_of(connection: Connection, unkeyed: Unkeyed) -> First | None:
    """The job that is this submission's already; its answer is then up to this one.

    Serialises identical submissions until the transaction's end.

    Raises:
        StillOpen: it must be asked again, in another transaction (`patiently`).
    """
    arrived_at = await _lock(connection, unkeyed)
    unkeyed.arrived_at = unkeyed.arrived_at or arrived_at
    sought = {
        "fingerprint": unkeyed.fingerprint,
        "window": WINDOW_SECONDS,
        "open": OPEN_SECONDS,
    }
    earlier = await fetch_rows(connection, _earlier, _FIND, sought)
    if not earlier:
        return None
    found = judge(
        earlier,
        own=unkeyed.id,
        retries=unkeyed.retries,
        arrived_at=unkeyed.arrived_at,
        is_gone=await unkeyed.is_gone(),
    )
    match found:
        case Verdict.NEW:
            return None
        case Verdict.UNDECIDED:
            raise StillOpen
        case Verdict.UNWANTED:
            jobs = [each for each in earlier if each.job]
            newest = max(jobs, key=lambda each: each.at)
            return await fetch_row(connection, First, _READ, (newest.id,))
        case Earlier(state=AnswerState.REFUSED):
            await connection.execute("DELETE FROM submission WHERE id = %s", (found.id,))
            return None
        case Earlier():
            return await fetch_row(connection, First, _TAKE, {"own": unkeyed.id, "id": found.id})


async def _lock(connection: Connection, unkeyed: Unkeyed) -> datetime:
    """Wait for identical ones; returns when this one arrived, or a little later."""
    since = time.monotonic() - unkeyed.arrived
    cursor = await connection.execute(_LOCK, (since, unkeyed.fingerprint.hex()))
    (row,) = await cursor.fetchall()
    arrived_at: datetime = row["arrived_at"]
    return arrived_at


def _earlier(*, state: str, **columns: object) -> Earlier:
    return Earlier(state=AnswerState(state), **columns)  # type: ignore[arg-type]


async def keep(engine: Engine, connection: Connection, unkeyed: Unkeyed, view: Json) -> None:
    """Keep the submission of a new job, in the job's transaction."""
    state = AnswerState.LOST if await unkeyed.is_gone() else AnswerState.OPEN
    await connection.execute(
        """
        INSERT INTO submission (id, fingerprint, job, state, response, at)
        VALUES (%s, %s, %s, %s, %s, clock_timestamp())
        """,
        (unkeyed.id, unkeyed.fingerprint, view["id"], state, engine.vault.seal_json(view)),
    )


async def patiently(run: Callable[[], Awaitable[T]]) -> T:
    """The result of `run`, which is repeated while it raises StillOpen.

    Raises:
        RequestRefused: 503; other identical submissions are being answered all the time.
    """
    pause, most = _PAUSES
    until = time.monotonic() + 2 * OPEN_SECONDS
    while time.monotonic() < until:
        try:
            return await run()
        except StillOpen:
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, most)
    msg = "an identical request is still being answered; try again"
    raise RequestRefused(msg, type="service_unavailable", code="identical_request_open")


async def record(engine: Engine, outcomes: Sequence[Outcome]) -> None:
    """Note what became of answers. A refusal is noted if its client says when it retries.

    Raises:
        DatabaseAway: nothing was noted.
    """
    ordered = sorted(outcomes, key=lambda each: each.id)  # two processes never wait for each other
    answered = [each.is_written and each.status < _OURS for each in ordered]
    states = [AnswerState.ANSWERED if each else AnswerState.LOST for each in answered]
    written = [each.is_written for each in ordered]
    refused = [each for each in ordered if each.may_be_retried]

    async def work(connection: Connection) -> None:
        await connection.execute(_NOTE, ([each.id for each in ordered], states, written))
        for each in refused:
            await connection.execute(
                _NOTE_REFUSED,
                {
                    "id": each.id,
                    "fingerprint": each.fingerprint,
                    "is_retry": bool(each.retries),
                    "window": WINDOW_SECONDS,
                },
            )

    await engine.database.run(work)


async def still_answering(engine: Engine, ids: Sequence[str]) -> None:
    """Say that this process lives and is working on these answers."""
    sql = """
    UPDATE submission SET at = clock_timestamp() WHERE id IN (
        SELECT id FROM submission WHERE id = ANY(%s) AND state = 'open'
        ORDER BY id FOR NO KEY UPDATE)
    """
    await engine.database.fetch(sql, (list(ids),))


#: HTTP statuses: our own errors, and refusals after which clients send again.
_OURS: Final = 500
_SENT_AGAIN: Final = frozenset({408, 409, 429})

#: The clock is read before the lock is waited for.
_LOCK = """
WITH seen AS MATERIALIZED (
    SELECT clock_timestamp() - %s * interval '1 second' AS arrived_at)
SELECT arrived_at, pg_advisory_xact_lock(hashtextextended(%s, 0)) FROM seen
"""
#: SQL: whether a `job` may have been paid for, or may yet be. A failed or cancelled operation costs
#: what its provider says, as in `models.estimate`; what a restore parked may have been sent.
_MAY_BE_PAID = """EXISTS (
    SELECT 1 FROM attempt WHERE attempt.job = job.id
    AND (attempt.state IN ('sent', 'unknown', 'accepted', 'succeeded') OR attempt.cost_micros > 0
         OR attempt.parked_at IS NOT NULL))"""
#: All whose answer is in doubt, the oldest refusal, and the newest of the answered ones. A job that
#: ended without a video, and was certainly not paid for, counts as answered: a client that
#: asks again wants another try.
_FIND = f"""
SELECT earlier.id, earlier.job, given, at,
       CASE WHEN earlier.state = 'lost' AND job.state IN ('failed', 'cancelled')
                 AND NOT {_MAY_BE_PAID}
            THEN 'answered' ELSE earlier.state END AS state,
       at < clock_timestamp() - %(open)s * interval '1 second' AS is_stale
FROM (
    (SELECT * FROM submission
     WHERE fingerprint = %(fingerprint)s AND state IN ('open', 'lost')
       AND at > now() - %(window)s * interval '1 second'
     ORDER BY at LIMIT 500)
    UNION ALL
    (SELECT * FROM submission
     WHERE fingerprint = %(fingerprint)s AND state = 'refused'
       AND at > now() - %(window)s * interval '1 second'
     ORDER BY at LIMIT 1)
    UNION ALL
    (SELECT * FROM submission
     WHERE fingerprint = %(fingerprint)s AND state = 'answered'
       AND at > now() - %(window)s * interval '1 second'
     ORDER BY at DESC LIMIT 50)
) AS earlier LEFT JOIN job ON job.id = earlier.job
"""  # noqa: S608 - a constant
_READ = """
SELECT submission.job, deleted_at, response FROM submission JOIN job ON job.id = submission.job
WHERE submission.id = %s
"""
#: The window of a job that ended without a video is not extended: after it a request makes another.
_TAKE = """
UPDATE submission SET id = %(own)s, state = 'open',
       at = CASE WHEN job.state IN ('failed', 'cancelled') THEN at ELSE clock_timestamp() END,
       given = CASE WHEN submission.id = %(own)s THEN given ELSE least(given + 1, 30000) END
FROM job WHERE submission.id = %(id)s AND job.id = submission.job
RETURNING submission.job, deleted_at, response
"""
#: A client that has read that its job was cancelled or deleted was answered, whatever the status.
_NOTE = """
UPDATE submission SET state = noted.state
FROM (
    SELECT submission.id,
           CASE WHEN is_written AND (job.state = 'cancelled' OR job.deleted_at IS NOT NULL)
                THEN 'answered' ELSE told.state END AS state
    FROM submission
    JOIN unnest(%s::text[], %s::text[], %s::boolean[]) AS told (id, state, is_written)
         ON told.id = submission.id
    LEFT JOIN job ON job.id = submission.job
    ORDER BY submission.id FOR NO KEY UPDATE OF submission
) AS noted
WHERE submission.id = noted.id
"""
#: A later retry of an identical request may be this one's, also beside a job that another orders
#: meanwhile. Retries are of a request that is noted.
_NOTE_REFUSED = """
INSERT INTO submission (id, fingerprint, state, at)
SELECT %(id)s, %(fingerprint)s, 'refused', clock_timestamp()
WHERE NOT (%(is_retry)s AND EXISTS (
      SELECT 1 FROM submission WHERE fingerprint = %(fingerprint)s AND state = 'refused'
      AND at > now() - %(window)s * interval '1 second'))
ON CONFLICT (id) DO NOTHING
"""
