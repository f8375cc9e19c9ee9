"""Sets aside a row on which our own work failed: it alone is postponed, longer each time.

An internal error never ends paid work: the row is retried until its verb gives up (`give_up`) or
its job's deadline passes.
"""

import random
from enum import StrEnum

import structlog

from models import due
from models.advance import tell
from models.database import Connection, Database, DatabaseAway
from models.locks import jobs_of
from models.verbs import What
from tasks.verbs.verb import AnyVerb

log = structlog.get_logger()

#: Delay after the first exception, in seconds; it doubles with each further one.
FIRST_WAIT = 10.0
#: First and longest delay of a parked row, in seconds.
PARKED, LONGEST_PARKED = 300.0, 3600.0


class Reason(StrEnum):
    """How our work on a row failed."""

    #: Loading the row, or the work on it, raised an exception.
    RAISED = "raised"
    #: Writing its result failed.
    NOT_WRITTEN = "not_written"
    #: Workers that had claimed only this row repeatedly died or hung.
    NO_ANSWER = "no_answer"


async def set_aside(
    database: Database, verb: AnyVerb, id_: str, *, lease: str, reason: Reason, tries: int = 0
) -> None:
    """Postpone a held row, or end it if its verb gives up; database errors are only logged.

    After an exception the first delays are seconds; any other reason parks the row at once.
    `tries` is the row's new number of claims without a write-back.
    """

    async def end(connection: Connection) -> None:
        jobs = await jobs_of(connection, verb.what, [id_])
        if await due.hold(connection, verb.what, [id_], lease=lease, jobs=jobs):
            await verb.give_up(connection, [id_])

    async def park(connection: Connection) -> None:
        job = await _job_of(connection, verb.what, id_)
        faults = await due.faults_of(connection, verb.what, id_, lease=lease)
        if faults is None:
            return  # another pump holds it, or it has ended
        now = faults + 1 if reason is Reason.RAISED else max(faults, due.PARKED_FAULTS - 1) + 1
        wait = wait_after(now, dice=random.random())
        await due.set_aside(connection, verb.what, id_, after=wait, tries=tries, faults=now)
        if faults < due.PARKED_FAULTS <= now:
            log.error("row.set_aside", what=verb.what, id=id_, reason=reason, wait=round(wait))
            detail = {"what": str(verb.what), "id": id_, "reason": str(reason)}
            await tell(connection, "work.set_aside", [(job, detail)] if job else [])

    # Separate transactions: if ending the row fails, it must still be parked.
    for work in (end, park):
        try:
            await database.run(work)
        except DatabaseAway as error:  # the row is claimed again once its lease expires
            log.warning("pump.database_away", what=verb.what, id=id_, error=str(error))
        except Exception:
            log.exception("row.not_set_aside", what=verb.what, id=id_, step=work.__name__)


def wait_after(faults: int, *, dice: float) -> float:
    """Seconds until a row is retried after `faults` failures in a row.

    10 s to 80 s after the first four; then it is parked for 5 min, doubling up to 1 h. Jitter adds
    up to a tenth, by `dice` in 0..1.
    """
    later = faults - due.PARKED_FAULTS
    wait = (
        FIRST_WAIT * 2.0 ** (faults - 1)
        if later < 0
        else min(LONGEST_PARKED, PARKED * 2.0 ** min(later, 32))
    )
    return wait * (1 + 0.1 * dice)


async def _job_of(connection: Connection, what: What, id_: str) -> str | None:
    """The job that a due row belongs to, locked against deletion before the due row is locked."""
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
