"""Attempts whose POST provably reached nobody: planned again and due later, or released."""

from datetime import datetime

import structlog

from models import due
from models.advance import advance_attempts
from models.database import Connection
from models.failure import Failure
from models.locks import lock_whole_of
from models.state import AttemptState
from models.verbs import What
from tasks.engine import Engine
from tasks.outcomes.attempt import AttemptRef
from tasks.outcomes.give_back import give_back
from tasks.outcomes.hop import hop
from tasks.outcomes.insist import insist
from tasks.outcomes.sent import take_back

log = structlog.get_logger()

#: Seconds for which putting an attempt off is retried while PostgreSQL is unavailable.
HOLD_OFF = 60.0
#: Seconds until an attempt is tried again whose database must be compared with the mark first.
COMPARED_AGAIN_AFTER = 0.5


async def postpone(engine: Engine, attempt: str, *, wait: float, lease: str) -> None:
    """Leave an attempt as it is, due again in `wait` seconds."""

    async def work(connection: Connection) -> None:
        ours = await due.hold(connection, What.SUBMIT, [attempt], lease=lease)
        await due.put_back(connection, What.SUBMIT, sorted(ours), after=[wait] * len(ours))

    await engine.database.run(work)


async def prepare_first(engine: Engine, item: AttemptRef, *, since: datetime, lease: str) -> None:
    """Have the pictures of a planned attempt fetched, by whichever worker may wait for them."""

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [item.id])
        if not await due.hold(connection, What.SUBMIT, [item.id], lease=lease):
            return
        await due.drop(connection, What.SUBMIT, [item.id])
        row = due.Row(id=item.id, lane=item.tenant, tenant=item.tenant, at=since)
        await due.put(connection, What.PREPARE, [row])

    await engine.database.run(work)


async def put_off(
    engine: Engine,
    item: AttemptRef,
    reason: str,
    *,
    wait: float = 0.0,
    at: datetime | None = None,
    token: str,
    lease: str,
) -> None:
    """Plan an attempt again, due in `wait` seconds or since `at`; its job's deadline ends this.

    `token` names the try that may have marked it as sent.
    """
    engine.clearance.take_back(item.id)

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [item.id])
        is_held = bool(await due.hold(connection, What.SUBMIT, [item.id], lease=lease))
        # Otherwise another worker may be sending it by now: planned again, it would be twice.
        if await take_back(connection, item.id, token=token, is_held=is_held):
            await give_back(engine, connection, [item.id])
            if at is None:
                await due.put_back(connection, What.SUBMIT, [item.id], after=[wait])
            else:
                await due.put_at(connection, What.SUBMIT, item.id, at=at)
            await release_if_unwanted(connection, item.id)

    await insist(engine, work, item.id, seconds=HOLD_OFF)
    log.info("submit.put_off", attempt=item.id, job=item.job, reason=reason, wait=round(wait, 1))


async def move_on(
    engine: Engine, item: AttemptRef, failure: Failure, *, wait: float, token: str, lease: str
) -> None:
    """End an attempt that its provider has not taken for long, for the gate's next model.

    Where there is none, or it would cost too much, plan the attempt again, due in `wait` seconds.
    """
    engine.clearance.take_back(item.id)

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [item.id])
        is_held = bool(await due.hold(connection, What.SUBMIT, [item.id], lease=lease))
        if not await take_back(connection, item.id, token=token, is_held=is_held):
            return
        await give_back(engine, connection, [item.id])
        if await hop(connection, {item.id: failure}):
            failures = {item.id: failure}
            await advance_attempts(connection, AttemptState.FAILED, [item.id], failures=failures)
            await due.drop(connection, What.SUBMIT, [item.id])
        else:
            await due.put_back(connection, What.SUBMIT, [item.id], after=[wait])
            await release_if_unwanted(connection, item.id)

    await insist(engine, work, item.id, seconds=HOLD_OFF)
    log.info("submit.held_up", attempt=item.id, job=item.job, code=failure.code)


async def compare_again(engine: Engine, attempt: str, *, token: str, lease: str) -> None:
    """Put off an attempt of a database that was not compared with the mark: nothing was sent.

    A commit of `sent` that this try repeated after a lost answer may stand, and is taken back.
    """
    engine.clearance.withdraw()

    async def work(connection: Connection) -> None:
        is_held = bool(await due.hold(connection, What.SUBMIT, [attempt], lease=lease))
        is_undone = await take_back(connection, attempt, token=token, is_held=False)
        if is_held or is_undone:
            await due.put_back(connection, What.SUBMIT, [attempt], after=[COMPARED_AGAIN_AFTER])

    await engine.database.run(work)


async def release_if_unwanted(connection: Connection, attempt: str) -> None:
    """Release a planned attempt whose job has ended meanwhile, or that is to make no video."""
    cursor = await connection.execute(
        """
        UPDATE attempt SET state = 'cancelled', finished_at = now() FROM job
        WHERE attempt.id = %s AND job.id = attempt.job AND attempt.state = 'planned'
          AND (job.state IN ('complete', 'failed', 'cancelled') OR NOT EXISTS (
              SELECT 1 FROM output
              WHERE output.attempt = attempt.id AND output.state = 'expected'))
        RETURNING attempt.id
        """,
        (attempt,),
    )
    if await cursor.fetchone():
        await due.drop_unsent(connection, [attempt])
