"""How a job ends: its final state, what is released with it, and the webhook that tells of it."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog

from models import due
from models.advance import Moved, advance_attempts, advance_jobs, fail_outputs, tell
from models.database import Connection
from models.failure import Failure, Fault
from models.ids import new_id
from models.locks import lock_jobs, lock_whole
from models.state import (
    FINAL_JOB_STATES,
    AttemptState,
    DeliveryState,
    JobState,
    What,
)
from models.vault import Vault, VaultError
from providers.registry import capabilities_of
from tasks.engine import Engine
from tasks.view import WEBHOOK_LINK_LIVES, ShownJob, job_view, read_jobs
from webhooks.events import EventType, render

log = structlog.get_logger()

#: The kind of an event that tells of a webhook that could not be made.
UNANNOUNCED = "webhook.unannounced"
EVENT_TYPES = {
    JobState.COMPLETE: EventType.VIDEO_COMPLETED,
    JobState.FAILED: EventType.VIDEO_FAILED,
    JobState.CANCELLED: EventType.VIDEO_CANCELLED,
}


#: Seconds after a lost lease within which whoever had it has left the work off.
LEAVES_WITHIN = 60.0


async def settle(engine: Engine, connection: Connection, jobs: Sequence[str]) -> None:
    """Give every job whose outputs are all final its own final state; leave the others."""
    if not jobs:
        return
    # Two outputs of one job may end at once: whoever locks the job second sees both.
    await lock_jobs(connection, jobs)
    cursor = await connection.execute(
        """
        SELECT job.id, bool_or(output.state = 'stored') AS has_video,
               (array_agg(output.error ORDER BY output.position)
                FILTER (WHERE output.error IS NOT NULL))[1] AS error
        FROM job JOIN output ON output.job = job.id
        WHERE job.id = ANY(%s) AND NOT job.state = ANY(%s)
        GROUP BY job.id
        HAVING bool_and(output.state IN ('stored', 'failed'))
        """,
        (list(set(jobs)), list(FINAL_JOB_STATES)),
    )
    ended = await cursor.fetchall()
    complete = [row["id"] for row in ended if row["has_video"]]
    failures = {row["id"]: _failure(row["error"]) for row in ended if not row["has_video"]}
    await finish(engine, connection, JobState.COMPLETE, complete)
    await finish(engine, connection, JobState.FAILED, list(failures), failures=failures)


async def end_with_what_there_is(
    engine: Engine, connection: Connection, failures: Mapping[str, Failure]
) -> None:
    """End jobs now: complete where a video is stored, though others are missing; else failed."""
    jobs = sorted(failures)
    await lock_whole(connection, jobs)
    cursor = await connection.execute(
        "SELECT DISTINCT job FROM output WHERE job = ANY(%s) AND state = 'stored'", (jobs,)
    )
    complete = {row["job"] for row in await cursor.fetchall()}
    failed = set(jobs) - complete
    await finish(engine, connection, JobState.COMPLETE, sorted(complete), failures=failures)
    await finish(engine, connection, JobState.FAILED, sorted(failed), failures=failures)


async def finish(
    engine: Engine,
    connection: Connection,
    to: JobState,
    jobs: Sequence[str],
    *,
    failures: Mapping[str, Failure] | None = None,
) -> list[Moved]:
    """Move jobs to a final state with all that belongs to it; returns those that did move.

    `failures` says why by job; of a job that is complete, why it lacks the videos it lacks.
    """
    await lock_whole(connection, jobs)
    reasons = None if to is JobState.COMPLETE else failures
    moved = await advance_jobs(connection, to, sorted(jobs), failures=reasons)
    ids = [job.id for job in moved]
    if not ids:
        return []
    await due.drop(connection, What.EXPIRE, ids)
    await _release(connection, {id_: (failures or {}).get(id_) or _UNWANTED for id_ in ids})
    if to is JobState.CANCELLED:
        await _forget_links(connection, ids)
    await _charge(connection, ids)
    await _announce(engine, connection, to, ids)
    return moved


async def _release(connection: Connection, failures: Mapping[str, Failure]) -> None:
    """Nothing of these jobs is wanted any more: give up outputs, release or stop attempts."""
    cursor = await connection.execute(
        """
        SELECT attempt.id, attempt.state, attempt.provider, attempt.account, job.tenant,
               attempt.denied_since
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.job = ANY(%s) AND attempt.state IN ('planned', 'accepted')
        ORDER BY attempt.id FOR NO KEY UPDATE OF attempt
        """,
        (list(failures),),
    )
    attempts = await cursor.fetchall()
    planned = [row["id"] for row in attempts if row["state"] == AttemptState.PLANNED]
    await advance_attempts(connection, AttemptState.CANCELLED, planned)
    await due.drop(connection, What.SUBMIT, planned)
    await stop_operations(
        connection, [row for row in attempts if row["state"] == AttemptState.ACCEPTED]
    )
    outputs = await fail_outputs(connection, failures, of="job")
    # A download may be under way: the row stays, and makes sure that nothing of it does.
    await due.postpone(connection, What.STORE, outputs, seconds=LEAVES_WITHIN)


async def _forget_links(connection: Connection, jobs: Sequence[str]) -> None:
    """What its owner does not want is never brought in; of other failed videos links are kept."""
    await connection.execute(
        "UPDATE output SET source = NULL, source_at = NULL WHERE job = ANY(%s) "
        "AND source IS NOT NULL",
        (list(jobs),),
    )


async def stop_operations(connection: Connection, attempts: Sequence[Mapping[str, Any]]) -> None:
    """Cancel upstream what can be; the rest is polled on, to learn what it costs.

    So is what its provider denies just now: a cancel that is answered so would say nothing.
    """
    stoppable = [
        row
        for row in attempts
        if not row.get("denied_since") and capabilities_of(row["provider"]).cancel
    ]
    running = [row for row in attempts if row not in stoppable]
    await due.drop(connection, What.POLL, [row["id"] for row in stoppable])
    for what, rows in ((What.CANCEL, stoppable), (What.POLL, running)):
        await due.put(
            connection,
            what,
            [due.Row(id=row["id"], lane=row["account"], tenant=row["tenant"]) for row in rows],
        )


async def _charge(connection: Connection, jobs: Sequence[str]) -> None:
    """The caller pays for the videos that were stored, at the price that was told."""
    await connection.execute(
        """
        UPDATE job SET cost_micros = round(job.estimated_cost_micros * made.share)
        FROM (SELECT job, (count(*) FILTER (WHERE state = 'stored'))::numeric / count(*) AS share
              FROM output WHERE job = ANY(%s) GROUP BY job) AS made
        WHERE job.id = made.job
        """,
        (list(jobs),),
    )


async def _announce(
    engine: Engine, connection: Connection, to: JobState, jobs: Sequence[str]
) -> None:
    """Render the event of each job that has a webhook, once, and make its delivery due."""
    rows = [row for row in await read_jobs(connection, jobs) if row.webhook]
    if not rows:
        return
    deliveries = [made for row in rows if (made := await _rendered(engine, connection, to, row))]
    async with connection.cursor() as cursor:
        await cursor.executemany(
            """
            INSERT INTO delivery (id, job, tenant, type, host, state, target, body)
            VALUES (%(id)s, %(job)s, %(tenant)s, %(type)s, %(host)s, %(state)s,
                    %(target)s, %(body)s)
            """,
            deliveries,
        )
    await due.put(
        connection,
        What.DELIVER,
        [due.Row(id=row["id"], lane=row["host"], tenant=row["tenant"]) for row in deliveries],
    )


async def _rendered(
    engine: Engine, connection: Connection, to: JobState, row: ShownJob
) -> dict[str, Any] | None:
    """The delivery of a job's event; None when none can be made: the job ends all the same.

    Its events then say why: its secrets can't be opened, or its row can't be read.
    """
    try:
        return _delivery(engine, to, row)
    except Exception as error:
        code = "secret_unreadable" if isinstance(error, VaultError) else "event_not_rendered"
        log.exception("webhook.unannounced", job=row.id, code=code)
        await tell(connection, UNANNOUNCED, [(row.id, {"code": code})])
        return None


def _delivery(engine: Engine, to: JobState, row: ShownJob) -> dict[str, Any]:
    if row.webhook is None or row.finished_at is None:
        msg = "only a final job with a webhook has an event"
        raise ValueError(msg)
    vault: Vault = engine.vault
    view = job_view(
        row, api_url=engine.settings.api_url, vault=vault, link_lives=WEBHOOK_LINK_LIVES
    )
    body = render(EVENT_TYPES[to], row.finished_at, view)
    return {
        "id": new_id("evt"),
        "job": row.id,
        "tenant": row.tenant,
        "type": EVENT_TYPES[to],
        "host": host_of(vault.open_json(row.webhook)["url"]),
        "state": DeliveryState.PENDING,
        "target": row.webhook,
        "body": vault.seal(body),
    }


def host_of(url: str) -> str:
    """Host and port: what one dead receiver may slow down."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


_UNWANTED = Failure(fault=Fault.GONE, code="cancelled", message="the job was cancelled")


def _failure(error: Mapping[str, Any] | None) -> Failure:
    if error is None:
        return Failure(fault=Fault.UNKNOWN, code="no_video", message="the provider made no video")
    return Failure.from_json(error)
