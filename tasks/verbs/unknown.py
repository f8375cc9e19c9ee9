"""An attempt whose POST has no known answer: looked up, or ended by policy; never sent again."""

import random
from typing import Any

import structlog

from models import due
from models.advance import advance_attempts, fail_outputs, tell
from models.database import Connection
from models.failure import Failure, Fault
from models.ids import new_id, new_marker
from models.state import FINAL_JOB_STATES, AttemptState, What
from providers.base import LookUp
from providers.registry import PROVIDERS
from scheduler.intervals import backoff
from tasks.engine import Engine
from tasks.finish import settle

log = structlog.get_logger()

#: How long after its time-out a POST may still be on its way in at the provider, in seconds.
ARRIVAL_MARGIN = 10.0
#: The first look-up comes so soon after the answer was lost, in seconds.
FIRST_LOOK = 1.0
#: First and longest wait before the next attempt, which may be the next to be paid, in seconds.
RETRY_BASE, RETRY_CEILING = 1.0, 60.0
#: Attempts of one job that may be planned one after another, whatever its policy.
MOST_ATTEMPTS = 5

ABSENT = Failure(
    fault=Fault.TRANSIENT,
    code="submit_lost",
    message="the request never reached the provider, as a look-up proved",
)
TOO_MANY = Failure(
    fault=Fault.TRANSIENT,
    code="submit_lost",
    message="the provider's answer was lost again and again",
)
SUBMIT_UNKNOWN = Failure(
    fault=Fault.UNKNOWN,
    code="submit_unknown",
    message="the provider's answer was lost: the video may have been paid for, so it was not "
    "asked for again (policy at_most_once)",
)


async def mark_unknown(engine: Engine, attempt: str, reason: str) -> None:
    """An attempt was sent and nobody knows whether it was accepted. Repeatable."""

    async def work(connection: Connection) -> None:
        moved = await advance_attempts(connection, AttemptState.UNKNOWN, [attempt])
        if not moved:
            return
        row = moved[0]
        await due.drop(connection, What.SUBMIT, [attempt])
        await tell(
            connection, "attempt.unknown", [(row["job"], {"attempt": attempt, "reason": reason})]
        )
        wait = _first_look(engine, row["provider"])
        if wait is None:
            await end_by_policy(engine, connection, attempt)
            return
        look = due.Row(id=attempt, lane=row["account"], tenant=row["tenant"], after=wait)
        await due.put(connection, What.LOOK_UP, [look])

    await engine.database.run(work)
    log.warning("attempt.unknown", attempt=attempt, reason=reason)


def _first_look(engine: Engine, provider: str) -> float | None:
    """Seconds until a look-up, or until its callback is given up; None where nothing helps."""
    ways = set(PROVIDERS[provider].capabilities.look_up)
    if ways & {LookUp.EXTERNAL_ID, LookUp.LIST}:
        return FIRST_LOOK
    if LookUp.CALLBACK in ways and engine.settings.public_url:
        return engine.settings.callback_wait_seconds
    return None


def absence_counts_after(engine: Engine, account: str) -> float:
    """Seconds after sending from which "there is none" is proof: nothing is on its way any more."""
    capabilities = engine.provider(account).capabilities
    return engine.submit_timeout(account) + ARRIVAL_MARGIN + capabilities.look_up_delay


async def replace_absent(engine: Engine, connection: Connection, attempt: str) -> None:
    """A look-up proved that the provider took nothing: the job may send another attempt."""
    moved = await advance_attempts(
        connection, AttemptState.REFUSED, [attempt], failures={attempt: ABSENT}
    )
    if not moved:
        return
    row = await _read(connection, attempt)
    if row is not None and not row["job_is_final"]:
        await plan_another(engine, connection, row)


async def end_by_policy(engine: Engine, connection: Connection, attempt: str) -> None:
    """No look-up can settle it: the job fails, or its policy has another attempt planned."""
    row = await _read(connection, attempt)
    if row is None or row["job_is_final"] or row["state"] != AttemptState.UNKNOWN:
        return  # nothing is wanted any more, or a callback has just told of the operation
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
                WHERE other.job = attempt.job AND other.route = attempt.route) AS attempts
        FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.id = %s
        FOR NO KEY UPDATE OF job, attempt
        """,
        (list(FINAL_JOB_STATES), attempt),
    )
    return await cursor.fetchone()


async def plan_another(engine: Engine, connection: Connection, row: dict[str, Any]) -> None:
    """A fresh attempt, with a marker of its own, takes over the outputs of one that is given up."""
    cursor = await connection.execute("SELECT count(*) FROM output WHERE job = %s", (row["job"],))
    outputs = await cursor.fetchone()
    if row["attempts"] >= MOST_ATTEMPTS + (outputs["count"] if outputs else 0):
        await fail_outputs(connection, {row["id"]: TOO_MANY}, of="attempt")
        await settle(engine, connection, [row["job"]])
        return
    wait = backoff(
        tries=row["attempts"], base=RETRY_BASE, ceiling=RETRY_CEILING, dice=random.random()
    )
    new = new_id("att")
    await connection.execute(
        """
        INSERT INTO attempt (id, job, provider, account, route, state, marker, count)
        VALUES (%s, %s, %s, %s, %s, 'planned', %s, %s)
        """,
        (
            *(new, row["job"], row["provider"], row["account"]),
            *(row["route"], new_marker(), row["count"]),
        ),
    )
    await connection.execute(
        "UPDATE output SET attempt = %s WHERE attempt = %s AND state = 'expected'", (new, row["id"])
    )
    await due.put(
        connection,
        What.SUBMIT,
        [due.Row(id=new, lane=row["account"], tenant=row["tenant"], after=wait)],
    )
    await tell(connection, "attempt.repeated", [(row["job"], {"attempt": new, "after": row["id"]})])
