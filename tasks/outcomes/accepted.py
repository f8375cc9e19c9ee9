"""An attempt that its provider took: its operation id is recorded as evidence."""

import random
import time

import structlog

from models import due, pictures
from models.advance import advance_jobs, tell
from models.database import Connection
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from providers.registry import capabilities_of
from scheduler.durations import expect
from tasks.engine import Engine
from tasks.outcomes.attempt import LockedAttempt, lock_attempt
from tasks.outcomes.ended import Ended, record_ended
from tasks.outcomes.evidence import is_same, owner_of, record_second, take_over, write_operation
from tasks.outcomes.finish import stop_operations
from tasks.outcomes.insist import insist

log = structlog.get_logger()


async def record_accepted(engine: Engine, attempt: str, accepted: Accepted) -> None:
    """Record an operation id, whatever the state of its attempt, lease and job: it is evidence.

    Repeatable. An attempt that has another operation already keeps it, and the second one is
    recorded beside it.
    """

    async def work(connection: Connection) -> None:
        row = await lock_attempt(connection, attempt)
        if row is None:
            log.error("attempt.not_there", attempt=attempt, operation=accepted.operation_id)
            return
        if is_same(row.operation_id, accepted.operation_id):
            return
        owner = await owner_of(connection, row.account, accepted.operation_id)
        if owner is not None:
            log.error("attempt.operation_of_another", attempt=attempt, owner=owner)
            told = {"attempt": attempt, "owner": owner, "operation": accepted.operation_id}
            await tell(connection, "attempt.operation_of_another", [(row.job, told)])
        elif row.operation_id is not None:
            second = await record_second(connection, row, accepted.operation_id)
            if second is not None:
                await _use_up(engine, connection, second, accepted)
        else:
            await _adopt(engine, connection, row, accepted)

    await insist(engine, work, attempt)


async def _adopt(
    engine: Engine, connection: Connection, row: LockedAttempt, accepted: Accepted
) -> None:
    """Give an attempt its operation, and have it polled for the videos that are expected of it."""
    attempt = row.id
    await due.drop_unsent(connection, [attempt])
    await due.drop(connection, What.LOOK_UP, [attempt])
    await write_operation(connection, row, accepted.operation_id)
    await take_over(connection, row)
    if not await _is_wanted(connection, attempt):  # its job has ended, or another makes its videos
        await tell(connection, "attempt.late", [(row.job, {"attempt": attempt})])
        await _use_up(engine, connection, row, accepted)
        return
    capabilities = capabilities_of(row.provider)
    # Before the job moves: what its earlier attempts were estimated by stays.
    learned = await expect(connection, row.job, route=row.route, reported=capabilities.progress)
    # A job of which nothing was sent, as far as was known, has not been submitted yet.
    await advance_jobs(connection, JobState.SUBMITTING, [row.job])
    await advance_jobs(connection, JobState.PROCESSING, [row.job])
    if accepted.update is not None and accepted.update.phase.is_final:
        await record_ended(engine, connection, [Ended(attempt=row, update=accepted.update)])
        return
    if learned is not None:
        engine.looks.learn(learned)
    wait = engine.looks.wait(
        lane=row.account,
        route=row.route,
        elapsed=0.0,
        floor=engine.poll_floor(row.account),
        ceiling=capabilities.poll_ceiling,
        stride=engine.poll_stride(row.account),
        wall=time.time(),
        now=time.monotonic(),
        dice=random.random(),
    )
    first = due.Row(id=attempt, lane=row.account, tenant=row.tenant, after=wait)
    await due.put(connection, What.POLL, [first])
    if capabilities.inline_pictures:
        await pictures.forget_fetched(connection, [row.job])


async def _is_wanted(connection: Connection, attempt: str) -> bool:
    cursor = await connection.execute(
        "SELECT 1 FROM output WHERE attempt = %s AND state = 'expected' LIMIT 1", (attempt,)
    )
    return await cursor.fetchone() is not None


async def _use_up(
    engine: Engine, connection: Connection, row: LockedAttempt, accepted: Accepted
) -> None:
    """Stop an operation whose videos are not wanted any more, or learn what it costs."""
    if accepted.update is not None and accepted.update.phase.is_final:
        await record_ended(engine, connection, [Ended(attempt=row, update=accepted.update)])
    else:
        await stop_operations(connection, [row])
