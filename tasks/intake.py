"""Intake: the only place where jobs are created, with all their rows in one transaction."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb

from catalog.accounts import Pick
from catalog.plan import Plan, duration_route
from models import due, limits
from models.database import Connection, fetch_row
from models.failure import RequestRefused
from models.ids import new_id, new_marker
from models.records import Json, as_dict, columns, placeholders, values
from models.request import VideoRequest
from models.rows.attempts import NewAttempt
from models.rows.jobs import NewJob
from models.rows.outputs import NewOutput
from models.scene import PICTURES
from models.state import AttemptState, JobState, OutputState
from tasks.afford import reserve
from tasks.choosing import Choice, choose, picker
from tasks.engine import Engine
from tasks.pictures import check_references
from tasks.repeats import Accepted, Caller, first_answer, first_or_refuse, remember
from tasks.resent import patiently
from tasks.view import ShownJob, job_view, read_jobs
from webhooks.signing import BadSecret, secret_bytes

#: Head start of a priority in its tenant's queue, in seconds: a job overtakes only jobs submitted
#: up to so much earlier, so none starves.
HEAD_START = {"low": 0.0, "normal": 600.0, "high": 4200.0}

#: Fields left out of the stored request and kept sealed, because a URL may be a signed link.
_SEALED = {"webhook_url", "webhook_secret", *PICTURES}


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
    if caller.idempotency_key:  # a repeat is answered even if the model was removed since
        known = await engine.database.run(
            lambda connection: first_answer(engine, connection, tenant, caller)
        )
        if known is not None:
            return known
    names = _Names(job=job_id or new_id("job_vid"), tenant=tenant, caller=caller, retry_of=retry_of)
    by_model, pick = None, await picker(engine)
    try:
        check_webhook(engine, request)
        if request.gate is None:
            by_model = _rows(engine, request, Choice.of_model(engine, request, pick), names)
    except RequestRefused as refusal:
        return await first_or_refuse(engine, refusal, tenant=tenant, caller=caller)

    async def work(connection: Connection) -> Accepted:
        if first := await first_answer(engine, connection, tenant, caller):
            return first
        new = by_model or await _through_gate(engine, connection, request, names, pick)
        accepted = await _record(engine, connection, new, names) if isinstance(new, _New) else new
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


def check_webhook(engine: Engine, request: VideoRequest) -> None:
    """Refuse a webhook that could never be delivered."""
    if request.webhook_secret is not None:
        if request.webhook_url is None:
            msg = "webhook_secret needs webhook_url"
            raise RequestRefused(msg, param="webhook_secret")
        try:
            secret_bytes(request.webhook_secret)
        except BadSecret as error:
            msg = f"webhook_secret {error}"
            raise RequestRefused(msg, param="webhook_secret") from None
    if request.webhook_url is not None and (reason := engine.guard.check_host(request.webhook_url)):
        msg = f"webhook_url is refused: {reason}"
        raise RequestRefused(msg, param="webhook_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class _New:
    """The rows of a new job, and what the statement computes its times from, in seconds."""

    #: The first is carried out; later ones are its gate's fallbacks.
    plans: Sequence[Plan]
    job: NewJob
    attempts: list[NewAttempt]
    outputs: list[NewOutput]
    deadline_seconds: int
    start_within: int | None
    head_start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What a new job is called and whose it is, whatever becomes of its first try to insert it."""

    job: str
    tenant: str
    caller: Caller
    retry_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """What the database's clock gave the inserted job."""

    created_at: datetime
    deadline_at: datetime
    start_by: datetime | None


async def _through_gate(
    engine: Engine, connection: Connection, request: VideoRequest, names: _Names, pick: Pick
) -> _New | Accepted:
    """The rows of a job whose gate chooses its model, or the job that exists already.

    A repeat does not take a turn.
    """
    if existing := await _existing(engine, connection, names):
        return existing
    choice = await choose(engine, connection, request, tenant=names.tenant, pick=pick)
    return _rows(engine, request, choice, names)


async def _record(engine: Engine, connection: Connection, new: _New, names: _Names) -> Accepted:
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
    await reserve(connection, new.job)
    view = _first_view(engine, new.job, times)
    return Accepted(job_id=new.job.id, lane=new.plans[0].account, view=view, allowance=left)


def _rows(engine: Engine, request: VideoRequest, choice: Choice, names: _Names) -> _New:
    plan, scene = choice.plans[0], choice.scene
    first, *others = (each.beside(scene) for each in choice.plans)
    own = {
        "gate": choice.gate,
        "model": plan.asked_model,
        "unknown_policy": request.unknown_policy or engine.settings.unknown_policy,
    }
    job = NewJob(
        id=names.job,
        tenant=names.tenant,
        app_id=names.caller.app_id,
        api_key=names.caller.api_key,
        request_id=new_id("req_vid"),
        retry_of=names.retry_of,
        state=JobState.PENDING,
        request=request.model_dump(
            mode="json", exclude_none=True, exclude=choice.left_out(_SEALED)
        ),
        plan=first,
        fallbacks={str(number): other for number, other in enumerate(others, 1)} or None,
        scene=engine.vault.seal_json(scene),
        typical_seconds=plan.typical_seconds[1],
        estimated_cost_micros=plan.estimated_cost_micros,
        # The dearest that its gate may move on to.
        reserved_micros=max(each.estimated_cost_micros for each in choice.plans),
        webhook=_sealed_webhook(engine, request, names),
        **_named_alike(request) | own,
    )
    attempts, outputs = _attempts_and_outputs(plan, job.id)
    return _New(
        plans=choice.plans,
        job=job,
        attempts=attempts,
        outputs=outputs,
        deadline_seconds=request.deadline_seconds or engine.settings.deadline_seconds,
        start_within=request.start_within_seconds,
        head_start=HEAD_START[request.priority],
    )


def _named_alike(request: VideoRequest) -> dict[str, Any]:
    """The job's columns that hold the request field of the same name."""
    names = {column.name for column in fields(NewJob)} & set(VideoRequest.model_fields)
    return {name: getattr(request, name) for name in names}


def _sealed_webhook(engine: Engine, request: VideoRequest, names: _Names) -> bytes | None:
    if request.webhook_url is None:
        return None
    target: Json = {"url": request.webhook_url, "secret": request.webhook_secret}
    if names.caller.event_fields is not None:
        target["fields"] = names.caller.event_fields(names.job)
    return engine.vault.seal_json(target)


def _attempts_and_outputs(plan: Plan, job_id: str) -> tuple[list[NewAttempt], list[NewOutput]]:
    attempts: list[NewAttempt] = []
    outputs: list[NewOutput] = []
    route = duration_route(
        provider=plan.provider, upstream=plan.upstream, duration_seconds=plan.duration_seconds
    )
    for count in plan.attempt_counts:
        attempt = NewAttempt(
            id=new_id("att"),
            job=job_id,
            provider=plan.provider,
            account=plan.account,
            route=route,
            state=AttemptState.PLANNED,
            marker=new_marker(),
            count=count,
        )
        attempts.append(attempt)
        first = len(outputs)
        outputs.extend(
            NewOutput(
                id=new_id("out"),
                job=job_id,
                attempt=attempt.id,
                position=first + number,
                state=OutputState.EXPECTED,
            )
            for number in range(count)
        )
    return attempts, outputs


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


async def _insert(connection: Connection, new: _New) -> _Times | None:
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
        choice=0,
        waits=None,
        hops=(),
        now=times.created_at,
    )
    return job_view(shown, api_url=engine.settings.api_url, vault=engine.vault)


def _taken(names: _Names) -> RequestRefused:
    return RequestRefused(f"job_id {names.job!r} is taken", param="job_id")


async def _existing(engine: Engine, connection: Connection, names: _Names) -> Accepted | None:
    """The existing job with this id; raises RequestRefused if it is another tenant's."""
    jobs = await read_jobs(connection, [names.job])
    if not jobs:
        return None
    if jobs[0].tenant != names.tenant:
        raise _taken(names)
    view = job_view(jobs[0], api_url=engine.settings.api_url, vault=engine.vault)
    return Accepted(job_id=names.job, lane=due.NO_LANE, view=view, is_repeat=True)
