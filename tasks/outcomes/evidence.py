"""Late evidence: operations of attempts that were thought to have none, or another one.

An operation id says that money was spent, from whichever source: the POST's answer, a look-up, a
callback or the operator. It is never dropped.
"""

from dataclasses import replace

import structlog

from models import due
from models.advance import advance_attempts, tell
from models.database import Connection
from models.ids import new_id, new_marker
from models.state import AttemptState, attempt_sources
from tasks.outcomes.attempt import LockedAttempt

log = structlog.get_logger()

#: Operations beyond their own that a job's attempts get rows for: more are told as events only, for
#: a provider that calls each of its messages an operation must not fill the table.
MOST_SECONDS = 5

_IN_TIME = (AttemptState.SENT, AttemptState.UNKNOWN)


def is_same(one: str | None, other: str) -> bool:
    """Whether two ids name one operation of an attempt: what stands before the last "/" may differ.

    Some of ours say where an operation lives, and a callback may tell only the end of that.
    """
    return one is not None and one.rpartition("/")[2] == other.rpartition("/")[2]


async def owner_of(connection: Connection, account: str, operation_id: str) -> str | None:
    """The attempt that has an operation already."""
    cursor = await connection.execute(
        "SELECT id FROM attempt WHERE account = %s AND operation_id = %s", (account, operation_id)
    )
    owner = await cursor.fetchone()
    return owner["id"] if owner else None


async def write_operation(connection: Connection, row: LockedAttempt, operation_id: str) -> None:
    """Make a locked attempt without an operation accepted, from whatever state it has."""
    await connection.execute(
        """
        UPDATE attempt SET state = 'accepted', operation_id = %s, accepted_at = now(),
                           sent_at = coalesce(sent_at, parked_at, now()),
                           finished_at = NULL, error = NULL
        WHERE id = %s AND operation_id IS NULL AND state = ANY(%s)
        """,
        (operation_id, row.id, list(attempt_sources(AttemptState.ACCEPTED))),
    )
    if row.state in _IN_TIME:
        return
    log.warning("attempt.late_evidence", attempt=row.id, was=row.state, operation=operation_id)
    told = {"attempt": row.id, "was": row.state, "operation": operation_id}
    await tell(connection, "attempt.late_evidence", [(row.job, told)])


async def take_over(connection: Connection, row: LockedAttempt) -> None:
    """Take the videos back from whatever was planned in the attempt's place and not sent yet.

    It is paid for already, so the other need not be: it is released.
    """
    cursor = await connection.execute(
        """
        WITH RECURSIVE later (id) AS (
            SELECT id FROM attempt WHERE job = %(job)s AND replaces = %(attempt)s
            UNION
            SELECT attempt.id FROM attempt JOIN later ON attempt.replaces = later.id
            WHERE attempt.job = %(job)s)
        SELECT attempt.id FROM attempt JOIN later USING (id)
        WHERE attempt.state = 'planned' ORDER BY attempt.id
        """,
        {"job": row.job, "attempt": row.id},
    )
    planned = [later["id"] for later in await cursor.fetchall()]
    # Who has just been sent meanwhile does not move, and keeps its videos.
    released = await advance_attempts(connection, AttemptState.CANCELLED, planned)
    ids = [later["id"] for later in released]
    await connection.execute(
        "UPDATE output SET attempt = %s WHERE attempt = ANY(%s) AND state = 'expected'",
        (row.id, ids),
    )
    await due.drop_unsent(connection, ids)
    told = [(row.job, {"attempt": id_, "for": row.id}) for id_ in ids]
    await tell(connection, "attempt.released", told)


async def record_second(
    connection: Connection, row: LockedAttempt, operation_id: str
) -> LockedAttempt | None:
    """A second operation of one attempt gets an attempt of its own, which no video is expected of.

    That attempt, to be stopped or polled for its cost; None where there are too many already.
    """
    cursor = await connection.execute(
        """
        SELECT count(*) AS seconds, bool_or(detail ->> 'operation' = %s) AS is_told FROM event
        WHERE job = %s AND kind = 'attempt.second_operation'
        """,
        (operation_id, row.job),
    )
    told = await cursor.fetchone()
    if told is None or told["is_told"] or told["seconds"] >= 2 * MOST_SECONDS:
        return None
    log.error(
        "attempt.second_operation",
        attempt=row.id,
        operation=operation_id,
        first=row.operation_id,
    )
    new = new_id("att") if told["seconds"] < MOST_SECONDS else None
    detail = {"attempt": row.id, "operation": operation_id, "recorded_as": new}
    await tell(connection, "attempt.second_operation", [(row.job, detail)])
    if new is None:
        return None
    await connection.execute(
        """
        INSERT INTO attempt (id, job, provider, account, route, choice, state, marker, count,
                             payload_hash, sent_at, operation_id, accepted_at)
        SELECT %s, job, provider, account, route, choice, 'accepted', %s, count, payload_hash,
               coalesce(sent_at, now()), %s, now()
        FROM attempt WHERE id = %s
        """,
        (new, new_marker(), operation_id, row.id),
    )
    return replace(row, id=new, state=AttemptState.ACCEPTED, operation_id=operation_id)
