"""An attempt whose POST has no known answer: looked up, or ended by policy; never sent again."""

import random
from typing import Any

import structlog

from models import due
from models.advance import advance_attempts, fail_outputs, tell
from models.database import Connection
from models.failure import Failure, Fault
from models.high_water import park_replacement
from models.ids import marker_after, new_id
from models.locks import lock_whole_of
from models.state import FINAL_JOB_STATES, AttemptState
from models.verbs import What
from providers.base import LookUp, can_be_asked
from providers.registry import PROVIDERS
from scheduler.intervals import Backoff
from tasks.engine import Engine
from tasks.outcomes.finish import settle

log = structlog.get_logger()

#: Seconds from the lost answer to the first look-up.
FIRST_LOOK = 1.0
#: Before the next attempt, which may be paid for as well.
BACKOFF = Backoff(base=1.0, ceiling=60.0)
#: Attempts of one job that may be planned one after another, under either policy.
MOST_ATTEMPTS = 5

ABSENT = Failure(
    fault=Fault.TRANSIENT,
    code="submit_lost",
    message="the request never reached the provider, as look-ups proved",
)
TOO_MANY = Failure(
    fault=Fault.TRANSIENT,
    code="submit_lost",
    message="the provider's answer was lost too many times",
)
SUBMIT_UNKNOWN = Failure(
    fault=Fault.UNKNOWN,
    code="submit_unknown",
    message="the provider's answer was lost: the video may have been paid for, so it was not "
    "asked for again (policy at_most_once)",
)


async def mark_unknown(engine: Engine, attempt: str, reason: str) -> None:
    """Record that a sent attempt may or may not have been accepted. Repeatable."""

    async def work(connection: Connection) -> None:
        await lock_whole_of(connection, [attempt])
        moved = await advance_attempts(connection, AttemptState.UNKNOWN, [attempt])
        if not moved:
            return
        row = moved[0]
        await due.drop(connection, What.SUBMIT, [attempt])
        await tell(
            connection, "attempt.unknown", [(row["job"], {"attempt": attempt, "reason": reason})]
        )
        wait = await _first_look(engine, connection, row)
        if wait is None:
            await end_by_policy(engine, connection, attempt)
            return
        look = due.Row(id=attempt, lane=row["account"], tenant=row["tenant"], after=wait)
        await due.put(connection, What.LOOK_UP, [look])

    await engine.database.run(work)
    log.warning("attempt.unknown", attempt=attempt, reason=reason)


async def _first_look(
    engine: Engine, connection: Connection, attempt: dict[str, Any]
) -> float | None:
    """Seconds until a look-up, or until its callback is given up; None when neither can come."""
    provider = PROVIDERS.get(attempt["provider"])
    if provider is None:
        return FIRST_LOOK  # by a worker of the version that knows this provider
    ways = provider.capabilities.look_up
    if can_be_asked(ways):
        return FIRST_LOOK
    if LookUp.CALLBACK in ways and await _has_address(engine, connection, attempt["id"]):
        return engine.settings.callback_wait_seconds
    return None


async def _has_address(engine: Engine, connection: Connection, attempt: str) -> bool:
    """Whether a callback address was sent; for an older version's attempt, whether it may have."""
    cursor = await connection.execute(
        "SELECT callback_base, sent_as FROM attempt WHERE id = %s", (attempt,)
    )
    row = await cursor.fetchone()
    if row is None or row["sent_as"] is None:
        return engine.settings.public_url is not None
    return row["callback_base"] is not None


async def replace_absent(engine: Engine, connection: Connection, attempt: str) -> None:
    """Refuse an attempt that look-ups proved absent; its job may send another."""
    moved = await advance_attempts(
        connection, AttemptState.REFUSED, [attempt], failures={attempt: ABSENT}
    )
    if not moved:
        return
    row = await _read(connection, attempt)
    if row is not None and not row["job_is_final"]:
        await plan_another(engine, connection, row)


async def end_by_policy(engine: Engine, connection: Connection, attempt: str) -> None:
    """End an attempt that no look-up can settle: by policy the job fails or sends another."""
    row = await _read(connection, attempt)
    if row is None or row["job_is_final"] or row["state"] != AttemptState.UNKNOWN:
        return  # the job has ended, or a callback has just named the operation
    if row["unknown_policy"] == "at_least_once":
        await plan_another(engine, connection, row)
        return
    await fail_outputs(connection, {attempt: SUBMIT_UNKNOWN}, of="attempt")
    await settle(engine, connection, [row["job"]])


async def _read(connection: Connection, attempt: str) -> dict[str, Any] | None:
    cursor = await connection.execute(
        """
        SELECT attempt.*, job.tenant, job.unknown_policy, job.state = ANY(%s) AS job_is_final,
               (SELECT count(*) FROM attempt AS other
                WHERE other.job = attempt.job AND other.route = attempt.route) AS attempts,
               (SELECT count(*) FROM output WHERE output.job = attempt.job) AS videos
        FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.id = %s
        FOR NO KEY UPDATE OF job, attempt
        """,
        (list(FINAL_JOB_STATES), attempt),
    )
    return await cursor.fetchone()


async def plan_another(engine: Engine, connection: Connection, row: dict[str, Any]) -> None:
    """A fresh attempt, with a marker of its own, takes over the videos that one was to make.

    None is planned where no video is expected any more: it would be paid for in vain.
    """
    cursor = await connection.execute(
        "SELECT id FROM output WHERE attempt = %s AND state = 'expected' ORDER BY id FOR UPDATE",
        (row["id"],),
    )
    expected = [output["id"] for output in await cursor.fetchall()]
    if not expected:
        return
    if row["attempts"] >= MOST_ATTEMPTS + row["videos"]:
        await fail_outputs(connection, {row["id"]: TOO_MANY}, of="attempt")
        await settle(engine, connection, [row["job"]])
        return
    wait = BACKOFF.wait(row["attempts"], dice=random.random())
    new = new_id("att")
    await connection.execute(
        """
        INSERT INTO attempt (id, job, provider, account, route, choice, state, marker, count,
                             replaces)
        VALUES (%s, %s, %s, %s, %s, %s, 'planned', %s, %s, %s)
        """,
        (
            *(new, row["job"], row["provider"], row["account"]),
            *(row["route"], row["choice"], marker_after(row["marker"]), len(expected), row["id"]),
        ),
    )
    await park_replacement(connection, new, of=row["id"])
    await connection.execute("UPDATE output SET attempt = %s WHERE id = ANY(%s)", (new, expected))
    await due.put(
        connection,
        What.SUBMIT,
        [due.Row(id=new, lane=row["account"], tenant=row["tenant"], after=wait)],
    )
    await tell(connection, "attempt.repeated", [(row["job"], {"attempt": new, "after": row["id"]})])
