"""Submits that show an account's standing: its provider refuses it, or takes from it again.

The attempt that was refused is planned again, since nothing was taken, and waits with those behind
it. One line in the log and one row tell operators, however many attempts wait.
"""

import random

import structlog

from models import due
from models.accounts import Obstacle
from models.blocks import (
    FIRST_PROBE,
    LONGEST_PROBE,
    Blocked,
    block,
    end_probe,
    is_contradicted,
    lift,
    summon,
)
from models.database import Connection
from models.failure import Failure, Fault
from models.locks import lock_whole_of
from models.rows.accounts import Block
from models.verbs import What
from models.waking import wake
from scheduler.intervals import Backoff
from tasks.engine import Engine
from tasks.outcomes.insist import insist
from tasks.outcomes.sent import take_back
from tasks.outcomes.unsent import HOLD_OFF
from tasks.outcomes.waits import Queued, hold_back

log = structlog.get_logger()

#: The faults that block an account; a 429 only with a long Retry-After.
BLOCKS = {Fault.AUTH: Block.AUTH, Fault.QUOTA: Block.QUOTA, Fault.RATE: Block.RATE}
#: Until an attempt is tried again that its provider refuses while it takes others.
ALONE = Backoff(base=FIRST_PROBE, ceiling=LONGEST_PROBE)


async def record_blocked(
    engine: Engine, item: Queued, failure: Failure, *, token: str, lease: str
) -> None:
    """Block the account that its provider refused, and have the attempt wait or made elsewhere.

    Where the account took others meanwhile, only the attempt waits.
    """
    engine.clearance.take_back(item.id)
    code = BLOCKS[failure.fault]

    async def work(connection: Connection) -> tuple[Blocked | None, bool, str]:
        await lock_whole_of(connection, [item.id])
        is_held = bool(await due.hold(connection, What.SUBMIT, [item.id], lease=lease))
        blocked, has_ended = None, False
        if await is_contradicted(connection, item.id):  # it shows nothing, should it be a probe
            has_ended = await end_probe(connection, item.account, token=token, wait=FIRST_PROBE)
        else:
            blocked = await block(
                connection,
                item.account,
                code=code,
                reason=failure.message,
                token=token,
                asked=failure.retry_after,
            )
        if not await take_back(connection, item.id, token=token, is_held=is_held, rejected=0):
            return blocked, has_ended, "not ours"
        refusals = await _note_refusal(connection, item.id)
        obstacle = Obstacle(code=code, account=item.account, reason=failure.message, seconds=None)
        alone = None if blocked else ALONE.wait(refusals, dice=random.random())
        became = await hold_back(engine, connection, item, obstacle, wait=alone)
        return blocked, has_ended, became

    blocked, has_ended, became = await insist(engine, work, item.id, seconds=HOLD_OFF)
    if blocked and blocked.is_new:
        log.error(
            "account.blocked",
            account=item.account,
            code=code,
            reason=failure.message,
            probe_in=round(blocked.wait),
        )
    if blocked and blocked.is_latest:
        await _summon(engine, item.account, wait=blocked.wait)
    if has_ended:
        await _summon(engine, item.account, wait=FIRST_PROBE)
    log.info(
        "submit.refused_account",
        attempt=item.id,
        job=item.job,
        account=item.account,
        code=code,
        is_alone=blocked is None,
        became=became,
    )


async def _note_refusal(connection: Connection, attempt: str) -> int:
    """The number of the attempt's refusals, without this one."""
    cursor = await connection.execute(
        """
        UPDATE attempt SET refused_at = now(), refusals = least(refusals + 1, 30000)
        WHERE id = %s RETURNING refusals - 1 AS before
        """,
        (attempt,),
    )
    row = await cursor.fetchone()
    return row["before"] if row else 0


async def record_probe(engine: Engine, account: str, *, token: str, is_taken: bool) -> None:
    """What a probe showed that was not refused for its account's sake.

    If the provider took it, the block ends; else another attempt probes, soon.
    """
    if is_taken:
        if await engine.database.run(lambda connection: lift(connection, account)):
            log.info("account.unblocked", account=account)
            await wake(engine.database, account)
        return
    if await engine.database.run(
        lambda connection: end_probe(connection, account, token=token, wait=FIRST_PROBE)
    ):
        await _summon(engine, account, wait=FIRST_PROBE)


async def _summon(engine: Engine, account: str, *, wait: float) -> None:
    await engine.database.run(lambda connection: summon(connection, account, wait=wait))
