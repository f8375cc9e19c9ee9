"""An attempt that its provider took: its operation id is recorded as evidence."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog

from models import due
from models.advance import advance_jobs, tell
from models.database import Connection, DatabaseAway
from models.state import JobState, What
from providers.base import Accepted, Ask, Update
from providers.plan import Plan
from scheduler.durations import expect
from scheduler.intervals import backoff, first_poll
from tasks.engine import Engine
from tasks.finish import stop_operations
from tasks.verbs.ended import Ended, record_ended

log = structlog.get_logger()

#: How long an answer that was paid for is held on to while PostgreSQL is away, in seconds.
HOLD_ON = 600.0


class Sendable(Protocol):
    """What an attempt's request is rebuilt from."""

    @property
    def id(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def marker(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def plan(self) -> dict[str, Any]: ...
    @property
    def scene(self) -> bytes: ...
    @property
    def variation(self) -> int | None: ...


def plan_of(engine: Engine, item: Sendable) -> Plan:
    """The plan of the attempt's job, whole again."""
    return Plan.from_json({**item.plan, "scene": engine.vault.open_json(item.scene)})


def ask_of(
    engine: Engine,
    item: Sendable,
    plan: Plan,
    *,
    pictures: Mapping[str, str] | None = None,
    has_address: bool = True,
) -> Ask:
    """The attempt's request; `pictures` are earlier jobs' frames, which a look-up needs not.

    A callback address is in it where we have a public one, unless `has_address` says otherwise.
    """
    provider = engine.provider(item.account)
    callback = f"{engine.settings.api_url}/callbacks/{provider.name}/{item.marker}"
    return plan.ask(
        pictures=pictures or dict.fromkeys(plan.job_references, ""),
        attempt_id=item.id,
        marker=item.marker,
        variation=item.variation or 0,
        callback_url=callback if has_address and engine.settings.public_url else None,
        count=item.count,
    )


async def record_accepted(engine: Engine, attempt: str, accepted: Accepted) -> None:
    """An operation id is evidence: recorded whatever has become of the lease and of the job."""

    async def work(connection: Connection) -> None:
        # Whoever ends the job, or plans another attempt for its videos, does so before or after.
        await connection.execute(
            "SELECT 1 FROM job JOIN attempt ON attempt.job = job.id WHERE attempt.id = %s "
            "FOR NO KEY UPDATE OF job",
            (attempt,),
        )
        cursor = await connection.execute(
            """
            UPDATE attempt SET state = 'accepted', operation_id = %(operation)s, accepted_at = now()
            FROM job
            WHERE attempt.id = %(attempt)s AND job.id = attempt.job
              AND attempt.state IN ('sent', 'unknown')
            RETURNING attempt.id, attempt.job, attempt.provider, attempt.account, attempt.route,
                      job.tenant, EXISTS (
                          SELECT 1 FROM output
                          WHERE output.attempt = attempt.id AND output.state = 'expected'
                      ) AS is_wanted
            """,
            {"operation": accepted.operation_id, "attempt": attempt},
        )
        row = await cursor.fetchone()
        if row is None:
            return
        await due.drop(connection, What.SUBMIT, [attempt])
        await due.drop(connection, What.LOOK_UP, [attempt])
        if not row["is_wanted"]:  # its job has ended, or has another attempt for its videos
            await tell(connection, "attempt.late", [(row["job"], {"attempt": attempt})])
            await _use_up(engine, connection, row, accepted)
            return
        await advance_jobs(connection, JobState.PROCESSING, [row["job"]])
        learned = await expect(
            connection,
            row["job"],
            route=row["route"],
            reported=engine.provider(row["account"]).capabilities.progress,
        )
        wait = first_poll(
            p10=learned, floor=engine.poll_floor(row["account"]), dice=random.random()
        )
        if accepted.update is not None and accepted.update.phase.is_final:
            await record_ended(engine, connection, [_ended(row, accepted.update)])
            return
        first = due.Row(id=row["id"], lane=row["account"], tenant=row["tenant"], after=wait)
        await due.put(connection, What.POLL, [first])

    await _insist(engine, work, attempt)


def _ended(row: Mapping[str, Any], update: Update) -> Ended:
    return Ended(
        id=row["id"],
        job=row["job"],
        tenant=row["tenant"],
        account=row["account"],
        update=update,
    )


async def _use_up(
    engine: Engine, connection: Connection, row: Mapping[str, Any], accepted: Accepted
) -> None:
    """Nobody wants its videos any more: stop it, or learn what it costs."""
    if accepted.update is not None and accepted.update.phase.is_final:
        await record_ended(engine, connection, [_ended(row, accepted.update)])
    else:
        await stop_operations(connection, [row])


async def _insist(
    engine: Engine, work: Callable[[Connection], Awaitable[None]], attempt: str
) -> None:
    """Commit what money was spent for, however long PostgreSQL is away, within reason."""
    until, tries = time.monotonic() + HOLD_ON, 0
    while True:
        try:
            return await engine.database.run(work)
        except DatabaseAway:
            if time.monotonic() > until:
                raise
            log.error("attempt.answer_held", attempt=attempt, tries=tries)  # noqa: TRY400 - told, and tried again
            await asyncio.sleep(backoff(tries=tries, base=0.5, ceiling=10, dice=random.random()))
            tries += 1
