"""Attempts that their account holds back: moved on, moved over, or made to wait.

It is paused, has reached its cap, or its provider refuses it. Nothing of such an attempt was taken.
It moves to another account of its provider, if it never was; else its gate's next model takes over;
else it waits, and its job's deadline ends that.
"""

import random
from datetime import datetime
from typing import Any, Protocol

import structlog

from catalog.accounts import Picker
from models import due
from models.accounts import Obstacle, Permit, permit_to_send, room
from models.advance import advance_attempts, tell
from models.database import Connection
from models.estimate import SHARE_OF_ESTIMATE
from models.failure import Failure, Fault
from models.locks import lock_whole_of
from models.rows.accounts import Block
from models.state import AttemptState
from models.verbs import What
from providers.registry import provider_of
from tasks.engine import Engine
from tasks.outcomes.attempt import AttemptRef
from tasks.outcomes.give_back import give_back
from tasks.outcomes.hop import hop
from tasks.outcomes.insist import insist
from tasks.outcomes.sent import take_back
from tasks.outcomes.unsent import HOLD_OFF, release_if_unwanted

log = structlog.get_logger()

#: Seconds until an attempt that waits is tried again: more the longer it has waited. A resume or a
#: new cap makes it due at once, but room under a cap also comes from attempts that end cheaply.
SHORTEST_WAIT, LONGEST_WAIT = 30.0, 600.0

_FAILURES = {
    "paused": (Fault.QUOTA, "the provider's account is paused"),
    "capped": (Fault.QUOTA, "the provider's account has reached its spending cap"),
    Block.AUTH: (Fault.AUTH, "the provider refuses the account's key"),
    Block.QUOTA: (Fault.QUOTA, "the provider's account is out of credits or quota"),
    Block.RATE: (Fault.RATE, "the provider takes no more of the account for a while"),
}


def failure_of(obstacle: Obstacle) -> Failure:
    """The failure that a hop from this account tells, without the operator's words."""
    fault, words = _FAILURES[obstacle.code]
    return Failure(fault=fault, code=obstacle.code, message=words)


class Queued(AttemptRef, Protocol):
    """An attempt with its place in the queue."""

    @property
    def since(self) -> datetime: ...


async def wait_for_account(
    engine: Engine, item: Queued, obstacle: Obstacle, *, token: str, lease: str
) -> None:
    """Have an attempt that may not be sent made elsewhere, or make it wait.

    What held it back may have ended since: whoever ends it wakes no row that is being worked on, so
    it is asked again here, and then stands before this commit or after it. `token` names the try
    that may have marked it as sent.
    """
    engine.clearance.take_back(item.id)

    async def work(connection: Connection) -> str:
        await lock_whole_of(connection, [item.id])
        is_held = bool(await due.hold(connection, What.SUBMIT, [item.id], lease=lease))
        permit = await permit_to_send(
            *(connection, item.account),
            provider=provider_of(item.account),
            attempt=item.id,
            lock=True,
        )
        if not await take_back(connection, item.id, token=token, is_held=is_held, rejected=0):
            return "not ours"
        if isinstance(permit, Permit):
            await due.put_at(connection, What.SUBMIT, item.id, at=item.since)
            await release_if_unwanted(connection, item.id)
            return "due again"
        return await hold_back(engine, connection, item, permit)

    became = await insist(engine, work, item.id, seconds=HOLD_OFF)
    log.info(
        "submit.held_back",
        attempt=item.id,
        job=item.job,
        account=item.account,
        code=obstacle.code,
        reason=obstacle.reason,
        became=became,
    )


async def hold_back(
    engine: Engine,
    connection: Connection,
    item: Queued,
    obstacle: Obstacle,
    *,
    wait: float | None = None,
) -> str:
    """What becomes of a planned attempt whose job and due row are locked, in a word.

    If it waits, then for `wait` seconds, or for longer each time.
    """
    if await give_back(engine, connection, [item.id]):
        await release_if_unwanted(connection, item.id)
        return "released"
    if other := await _move_over(engine, connection, item, obstacle):
        return f"moved to {other}"
    failures = {item.id: failure_of(obstacle)}
    if await hop(connection, failures):
        await advance_attempts(connection, AttemptState.FAILED, [item.id], failures=failures)
        await due.drop(connection, What.SUBMIT, [item.id])
        return "hopped"
    await _wait(connection, item, obstacle, asked=wait)
    return "waits"


async def _move_over(
    engine: Engine, connection: Connection, item: Queued, obstacle: Obstacle
) -> str | None:
    """Pin an attempt that was never sent to another account of its provider, which has room."""
    others = {
        name: engine.catalog.weight(name)
        for name, account in engine.accounts.items()
        if account.provider == provider_of(item.account)
        and name != item.account
        and engine.catalog.weight(name)
    }
    if not others:
        return None
    cost = await _cost(connection, item.id)
    if cost is None:
        return None
    left = await room(connection, list(others))
    free = {name: weight for name, weight in others.items() if left.get(name, cost) >= max(cost, 1)}
    if not free:
        return None
    other = Picker(dice=engine.dice)(free, cost)
    await connection.execute(
        "UPDATE attempt SET account = %s, waits_for = NULL, waits_since = NULL WHERE id = %s",
        (other, item.id),
    )
    await due.drop(connection, What.SUBMIT, [item.id])
    row = due.Row(id=item.id, lane=other, tenant=item.tenant, at=item.since)
    await due.put(connection, What.SUBMIT, [row])
    told = {"attempt": item.id, "from": item.account, "to": other, "code": obstacle.code}
    await tell(connection, "attempt.moved", [(item.job, told)])
    return other


async def _cost(connection: Connection, attempt: str) -> int | None:
    """The estimate of an attempt that no POST was ever made for; None if one was."""
    cursor = await connection.execute(
        f"""
        SELECT {SHARE_OF_ESTIMATE} AS cost FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.id = %s AND attempt.state = 'planned' AND attempt.sent_at IS NULL
          AND attempt.rejections = 0 AND attempt.parked_at IS NULL
        """,  # noqa: S608 - a constant
        (attempt,),
    )
    row = await cursor.fetchone()
    return row["cost"] if row else None


async def _wait(
    connection: Connection, item: Queued, obstacle: Obstacle, *, asked: float | None
) -> None:
    """Put an attempt off; an event tells of it once for each reason."""
    cursor = await connection.execute(
        """
        UPDATE attempt SET
            waits_since = CASE WHEN waits_for = %(code)s THEN waits_since ELSE now() END,
            waits_for = %(code)s, due_since = coalesce(due_since, %(since)s)
        WHERE id = %(id)s AND state = 'planned'
        RETURNING waits_since = now() AS is_new,
                  extract(epoch FROM now() - waits_since)::float8 AS waited
        """,
        {"id": item.id, "code": obstacle.code, "since": item.since},
    )
    row = await cursor.fetchone()
    if row is None:
        return
    wait = asked or min(max(SHORTEST_WAIT, row["waited"] / 2), LONGEST_WAIT)
    if obstacle.seconds is not None:
        wait = min(wait, max(0.0, obstacle.seconds) + 0.1)
    spread = wait * (1 - 0.2 * random.random())
    await due.put_back(connection, What.SUBMIT, [item.id], after=[spread])
    if row["is_new"]:
        told: dict[str, Any] = {
            "attempt": item.id,
            "account": obstacle.account,
            "code": obstacle.code,
            "reason": obstacle.reason,
        }
        await tell(connection, "attempt.waits", [(item.job, told)])
    await release_if_unwanted(connection, item.id)
