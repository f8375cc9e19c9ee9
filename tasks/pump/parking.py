"""Setting aside a row on which our own work failed: alone, for longer each time, told once.

A fault of ours never ends paid work: the row is tried again until its own end comes, which its
verb knows (`give_up`) or the job's deadline brings.
"""

import random
from enum import StrEnum

import structlog

from models import due
from models.advance import tell
from models.database import Connection, Database, DatabaseAway
from models.locks import jobs_of
from models.state import What
from tasks.verbs.verb import AnyVerb

log = structlog.get_logger()

#: The wait after work that raised for the first time, in seconds; each next one is twice as long.
FIRST_WAIT = 10.0
#: First and longest wait of a row that is parked, in seconds.
PARKED, LONGEST_PARKED = 300.0, 3600.0


class Reason(StrEnum):
    """How our work on a row failed."""

    #: Loading it, or the work on it, raised.
    RAISED = "raised"
    #: Its result broke the statements that write it.
    NOT_WRITTEN = "not_written"
    #: Again and again the worker that had claimed it, and nothing else, left no answer.
    NO_ANSWER = "no_answer"


async def set_aside(
    database: Database, verb: AnyVerb, id_: str, *, lease: str, reason: Reason, tries: int = 0
) -> None:
    """Put a held row off, or end it when its own end has come; raises nothing of the database's.

    What raised is tried again after seconds at first; whatever else went wrong parks it at once.
    `tries` is what the row has left of its claims without an answer.
    """

    async def end(connection: Connection) -> None:
        jobs = await jobs_of(connection, verb.what, [id_])
        if await due.hold(connection, verb.what, [id_], lease=lease, jobs=jobs):
            await verb.give_up(connection, [id_])

    async def park(connection: Connection) -> None:
        job = await _job_of(connection, verb.what, id_)
        faults = await due.faults_of(connection, verb.what, id_, lease=lease)
        if faults is None:
            return  # it is another's by now, or has ended
        now = faults + 1 if reason is Reason.RAISED else max(faults, due.PARKED_FAULTS - 1) + 1
        wait = wait_after(now, dice=random.random())
        await due.set_aside(connection, verb.what, id_, after=wait, tries=tries, faults=now)
        if faults < due.PARKED_FAULTS <= now:
            log.error("row.set_aside", what=verb.what, id=id_, reason=reason, wait=round(wait))
            detail = {"what": str(verb.what), "id": id_, "reason": str(reason)}
            await tell(connection, "work.set_aside", [(job, detail)] if job else [])

    # Each in a transaction of its own: an end that can't be written must not keep it from parking.
    for work in (end, park):
        try:
            await database.run(work)
        except DatabaseAway as error:  # its lease ends, and it is found again
            log.warning("pump.database_away", what=verb.what, id=id_, error=str(error))
        except Exception:
            log.exception("row.not_set_aside", what=verb.what, id=id_, step=work.__name__)


def wait_after(faults: int, *, dice: float) -> float:
    """Seconds until a row is tried again on which our work failed `faults` times in a row.

    10 s to 80 s for the first four, then parked: 5 min, and twice as long each time up to 1 h; up
    to a tenth longer, by `dice` in 0..1.
    """
    later = faults - due.PARKED_FAULTS
    wait = (
        FIRST_WAIT * 2.0 ** (faults - 1)
        if later < 0
        else min(LONGEST_PARKED, PARKED * 2.0 ** min(later, 32))
    )
    return wait * (1 + 0.1 * dice)


async def _job_of(connection: Connection, what: What, id_: str) -> str | None:
    """The job that a due row's thing belongs to, locked against deletion before the row is."""
    job = "id" if what.table == "job" else "job"
    cursor = await connection.execute(
        f"""
        SELECT job.id FROM job JOIN {what.table} AS thing ON thing.{job} = job.id
        WHERE thing.id = %s FOR KEY SHARE OF job
        """,  # noqa: S608 - one of four constants
        (id_,),
    )
    row = await cursor.fetchone()
    return row["id"] if row else None
