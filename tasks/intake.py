"""Intake: the only place where jobs are created, with all their rows in one transaction."""

import time
from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb

from catalog.accounts import Pick
from models import due, limits, moves, pictures
from models.database import Connection, fetch_row
from models.failure import RequestRefused
from models.ids import new_id
from models.intake_failures import forget_intake_failures
from models.moves import Move
from models.records import Json, as_dict, columns, placeholders, values
from models.request import VideoRequest
from models.rows.attempts import NewAttempt
from models.rows.jobs import NewJob
from models.rows.outputs import NewOutput
from tasks.afford import reserve
from tasks.choosing import Choice, choose, picker
from tasks.engine import Engine
from tasks.making import Names, NewRows, rows_of
from tasks.pictures import Sealed, check_references, seal_pictures
from tasks.reachable import check_reachable
from tasks.repeats import Accepted, Caller, first_answer, first_or_refuse, remember
from tasks.resent import patiently
from tasks.view import ShownJob, job_view, read_jobs


async def accept(
    engine: Engine,
    request: VideoRequest,
    *,
    tenant: str,
    job_id: str | None = None,
    caller: Caller | None = None,
    retry_of: str | None = None,
) -> Accepted:
    """Check a request against its route and insert its rows, in one transaction.

    For a `job_id` or Idempotency-Key that exists already, and for a submission that was sent again
    (`tasks.resent`), return the first job.

    Raises:
        RequestRefused: the request is invalid, its model unavailable, a limit reached or a budget
            too small; no row was written.
        DatabaseAway: PostgreSQL can't be reached; nothing was accepted.
    """
    caller, started = caller or Caller(), time.monotonic()
    if (known := await _known(engine, tenant, caller)) is not None:
        return known
    sealed = await seal_pictures(engine, request, tenant=tenant)
    names = Names(
        job=job_id or new_id("job_vid"),
        tenant=tenant,
        caller=caller,
        retry_of=retry_of,
        pictures={name: each.id for name, each in sealed.items()},
    )
    by_model, pick = None, await picker(engine)
    try:
        check_reachable(engine, request)
        if request.gate is None:
            by_model = rows_of(engine, request, Choice.of_model(engine, request, pick), names)
    except RequestRefused as refusal:
        return await first_or_refuse(engine, refusal, tenant=tenant, caller=caller)

    async def work(connection: Connection) -> Accepted:
        if first := await first_answer(engine, connection, tenant, caller):
            return first
        new = by_model or await _through_gate(engine, connection, request, names, pick)
        accepted = (
            await _record(engine, connection, new, names, sealed)
            if isinstance(new, NewRows)
            else new
        )
        if job_id is not None:  # of a letter, which may have been a dead one
            await forget_intake_failures(connection, [accepted.job_id])
        if accepted.is_repeat:
            return accepted
        accepted.view["perf"]["latency_ms"] = round((time.monotonic() - started) * 1000)
        await remember(engine, connection, tenant, caller, accepted.view)
        return accepted

    try:
        return await patiently(lambda: engine.database.run(work))
    except ForeignKeyViolation:
        msg = f"tenant {tenant!r} is unknown; `longtake keys create --tenant` creates one"
        raise RequestRefused(msg, param="tenant") from None


async def _known(engine: Engine, tenant: str, caller: Caller) -> Accepted | None:
    """The first answer to an Idempotency-Key, given even if its model was removed since."""
    if not caller.idempotency_key:
        return None
    return await engine.database.run(lambda on: first_answer(engine, on, tenant, caller))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """What the database's clock gave the inserted job."""

    created_at: datetime
    deadline_at: datetime
    start_by: datetime | None


async def _through_gate(
    engine: Engine, connection: Connection, request: VideoRequest, names: Names, pick: Pick
) -> NewRows | Accepted:
    """The rows of a job whose gate chooses its model, or the job that exists already.

    A repeat does not take a turn.
    """
    if existing := await _existing(engine, connection, names):
        return existing
    choice = await choose(engine, connection, request, tenant=names.tenant, pick=pick)
    return rows_of(engine, request, choice, names)


async def _record(
    engine: Engine, connection: Connection, new: NewRows, names: Names, sealed: Sealed
) -> Accepted:
    """Insert the job, or return the one that took its id meanwhile."""
    for plan in new.plans:
        await check_references(connection, plan, tenant=names.tenant)
    held = await limits.hold(connection, tenant=names.tenant, api_key=names.caller.api_key)
    refusal = held.refusal()
    times = None if refusal else await _insert(connection, new)
    if times is None:
        if existing := await _existing(engine, connection, names):
            return existing
        raise refusal or _taken(names)
    left = await held.count(connection)
    kept = {name: sealed[name] for name in new.pictures}
    await pictures.keep(connection, new.job.id, kept, tenant=names.tenant)
    await reserve(connection, new.job)
    new_job = Move(
        job=new.job.id, tenant=new.job.tenant, model=new.job.model, state=new.job.state, age=0.0
    )
    moves.note(connection, [new_job])
    view = _first_view(engine, new.job, times)
    return Accepted(job_id=new.job.id, lane=new.plans[0].account, view=view, allowance=left)


_INSERT = f"""
WITH made AS (
    INSERT INTO job ({columns(NewJob)}, progress_source, deadline_at, start_by)
    VALUES ({placeholders(NewJob)}, 'estimated',
            greatest(now(), %(run_at)s) + %(deadline_seconds)s * interval '1 second',
            greatest(now(), %(run_at)s) + %(start_within)s * interval '1 second')
    ON CONFLICT (id) DO NOTHING
    RETURNING id, tenant, created_at, deadline_at, start_by,
              CASE WHEN run_at > now() THEN run_at
                   ELSE now() - %(head_start)s * interval '1 second' END AS submit_at
), attempts AS (
    INSERT INTO attempt ({columns(NewAttempt)})
    SELECT {columns(NewAttempt, of="new")}
    FROM made, jsonb_populate_recordset(NULL::attempt, %(attempts)s) AS new
    RETURNING id, account
), outputs AS (
    INSERT INTO output ({columns(NewOutput)})
    SELECT {columns(NewOutput, of="new")}
    FROM made, jsonb_populate_recordset(NULL::output, %(outputs)s) AS new
), told AS (
    INSERT INTO event (job, kind) SELECT id, 'pending' FROM made
), submits AS (
    INSERT INTO due (what, id, lane, tenant, at)
    SELECT 'submit', attempts.id, attempts.account, made.tenant, made.submit_at
    FROM attempts, made
), expiry AS (
    INSERT INTO due (what, id, lane, tenant, at)
    SELECT 'expire', id, %(no_lane)s, tenant, least(start_by, deadline_at) FROM made
)
SELECT created_at, deadline_at, start_by FROM made
"""  # noqa: S608 - columns of our own


async def _insert(connection: Connection, new: NewRows) -> _Times | None:
    """Insert all rows of a job in one statement; returns None if its id is taken."""
    parameters = values(new.job) | {
        "deadline_seconds": new.deadline_seconds,
        "start_within": new.start_within,
        "head_start": new.head_start,
        "attempts": Jsonb([as_dict(attempt) for attempt in new.attempts]),
        "outputs": Jsonb([as_dict(output) for output in new.outputs]),
        "no_lane": due.NO_LANE,
    }
    return await fetch_row(connection, _Times, _INSERT, parameters)


def _first_view(engine: Engine, job: NewJob, times: _Times) -> Json:
    """The view of a job that was just inserted, without reading it back."""
    inserted = as_dict(job)
    for unshown in ("scene", "api_key", "reserved_micros"):
        del inserted[unshown]
    shown = ShownJob(
        **inserted,
        **as_dict(times),
        progress_percent=0,
        progress_source="estimated",
        error=None,
        cost_micros=None,
        accepted_at=None,
        finished_at=None,
        deleted_at=None,
        outputs=(),
        progress=None,
        furthest=None,
        choice=0,
        waits=None,
        hops=(),
        now=times.created_at,
    )
    return job_view(shown, api_url=engine.settings.api_url, vault=engine.vault)


def _taken(names: Names) -> RequestRefused:
    return RequestRefused(f"job_id {names.job!r} is taken", param="job_id")


async def _existing(engine: Engine, connection: Connection, names: Names) -> Accepted | None:
    """The existing job with this id; raises RequestRefused if it is another tenant's."""
    jobs = await read_jobs(connection, [names.job])
    if not jobs:
        return None
    if jobs[0].tenant != names.tenant:
        raise _taken(names)
    view = job_view(jobs[0], api_url=engine.settings.api_url, vault=engine.vault)
    return Accepted(job_id=names.job, lane=due.NO_LANE, view=view, is_repeat=True)
