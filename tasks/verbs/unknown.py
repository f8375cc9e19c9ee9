"""An attempt whose POST has no known answer: looked up, or ended by policy; never sent again."""

import structlog

from models import due
from models.advance import advance_attempts, fail_outputs, tell
from models.database import Connection
from models.failure import Failure, Fault
from models.ids import new_id, new_marker
from models.state import FINAL_JOB_STATES, AttemptState, What
from providers.base import LookUp
from providers.registry import PROVIDERS
from tasks.engine import Engine
from tasks.finish import settle

log = structlog.get_logger()

#: An accepted POST may still be working its way in for this long after it was sent, in seconds.
POST_MAY_TAKE = 60.0

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
        capabilities = PROVIDERS[row["provider"]].capabilities
        if set(capabilities.look_up) & {LookUp.EXTERNAL_ID, LookUp.LIST}:
            wait = POST_MAY_TAKE + capabilities.look_up_delay
            row_due = due.Row(id=attempt, lane=row["account"], tenant=row["tenant"], after=wait)
            await due.put(connection, What.LOOK_UP, [row_due])
        else:
            await end_by_policy(engine, connection, attempt)

    await engine.database.run(work)
    log.warning("attempt.unknown", attempt=attempt, reason=reason)


async def end_by_policy(engine: Engine, connection: Connection, attempt: str) -> None:
    """No look-up can settle it: the job fails, or its policy has another attempt planned."""
    cursor = await connection.execute(
        """
        SELECT attempt.*, job.tenant, job.unknown_policy, job.state = ANY(%s) AS job_is_final
        FROM attempt JOIN job ON job.id = attempt.job WHERE attempt.id = %s
        """,
        (list(FINAL_JOB_STATES), attempt),
    )
    row = await cursor.fetchone()
    if row is None or row["job_is_final"]:
        return
    if row["unknown_policy"] == "at_least_once":
        await plan_another(connection, row)
        return
    await fail_outputs(connection, {attempt: SUBMIT_UNKNOWN}, of="attempt")
    await settle(engine, connection, [row["job"]])


async def plan_another(connection: Connection, row: dict[str, object]) -> None:
    """A fresh attempt, with a marker of its own, takes over the outputs of one that is given up."""
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
        [due.Row(id=new, lane=str(row["account"]), tenant=str(row["tenant"]))],
    )
    await tell(
        connection, "attempt.repeated", [(str(row["job"]), {"attempt": new, "after": row["id"]})]
    )
