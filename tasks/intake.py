"""Intake: the only place where jobs are created, with all their rows in one transaction."""

import hashlib
import json
import time
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb

from catalog.plan import Plan
from catalog.resolve import resolve
from models import due, limits
from models.database import Connection, fetch_row
from models.failure import Allowance, RequestRefused, job_deleted
from models.ids import new_id, new_marker
from models.records import Json, as_dict, columns, placeholders, values
from models.request import VideoRequest
from models.rows.attempts import NewAttempt
from models.rows.jobs import NewJob
from models.rows.outputs import NewOutput
from models.scene import PICTURES
from models.state import AttemptState, JobState, OutputState
from tasks.afford import reserve
from tasks.engine import Engine
from tasks.pictures import check_references
from tasks.view import ShownJob, job_view, read_jobs
from webhooks.signing import BadSecret, secret_bytes

#: Head start of a priority in its tenant's queue, in seconds: a job overtakes only jobs submitted
#: up to so much earlier, so none starves.
HEAD_START = {"low": 0.0, "normal": 600.0, "high": 4200.0}

#: Fields left out of the stored request and kept sealed, because a URL may be a signed link.
_SEALED = {"webhook_url", "webhook_secret", *PICTURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The request's headers that intake uses."""

    app_id: str | None = None
    #: The id of the API key; None over the broker.
    api_key: str | None = None
    idempotency_key: str | None = None
    #: SHA-256 of the body as canonical JSON.
    body_hash: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A durable job: a new one, or the one that this id or Idempotency-Key already has."""

    job_id: str
    lane: str
    #: The public view in the first response.
    view: Json = field(repr=False)
    is_repeat: bool = False
    #: What is left of the caller's limits; None without limits, and for a repeat.
    allowance: Allowance | None = None


def canonical_hash(body: object) -> bytes:
    """SHA-256 of a JSON value, independent of key order and white space."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


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

    For a `job_id` or Idempotency-Key that exists already, return the first job.

    Raises:
        RequestRefused: the request is invalid, its model unavailable, a limit reached or a budget
            too small; no row was written.
        DatabaseAway: PostgreSQL can't be reached; nothing was accepted.
    """
    caller, started = caller or Caller(), time.monotonic()
    if caller.idempotency_key:  # a repeat is answered even if the model was removed since
        first = await engine.database.run(
            lambda connection: first_answer(engine, connection, tenant, caller)
        )
        if first is not None:
            return first
    check_webhook(engine, request)
    plan = resolve(request, engine.catalog, engine.accounts)
    new = _rows(
        *(engine, request, plan), tenant=tenant, job_id=job_id, caller=caller, retry_of=retry_of
    )

    async def work(connection: Connection) -> Accepted:
        if caller.idempotency_key and (
            first := await first_answer(engine, connection, tenant, caller)
        ):
            return first
        await check_references(connection, plan, tenant=tenant)
        held = await limits.hold(connection, tenant=tenant, api_key=caller.api_key)
        refusal = held.refusal()
        times = None if refusal else await _insert(connection, new)
        if times is None:
            return await _existing(engine, connection, new, tenant, refusal=refusal)
        left = await held.count(connection)
        await reserve(connection, new.job)
        view = _first_view(engine, new.job, times)
        view["perf"]["latency_ms"] = round((time.monotonic() - started) * 1000)
        if caller.idempotency_key:
            await _remember(engine, connection, tenant, caller, view)
        return Accepted(job_id=new.job.id, lane=plan.account, view=view, allowance=left)

    try:
        return await engine.database.run(work)
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

    job: NewJob
    attempts: list[NewAttempt]
    outputs: list[NewOutput]
    deadline_seconds: int
    start_within: int | None
    head_start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """What the database's clock gave the inserted job."""

    created_at: datetime
    deadline_at: datetime
    start_by: datetime | None


def _rows(
    engine: Engine,
    request: VideoRequest,
    plan: Plan,
    *,
    tenant: str,
    job_id: str | None,
    caller: Caller,
    retry_of: str | None,
) -> _New:
    route = plan.to_json()
    scene = engine.vault.seal_json(route.pop("scene"))
    own = {"unknown_policy": request.unknown_policy or engine.settings.unknown_policy}
    job = NewJob(
        id=job_id or new_id("job_vid"),
        tenant=tenant,
        app_id=caller.app_id,
        api_key=caller.api_key,
        request_id=new_id("req_vid"),
        retry_of=retry_of,
        state=JobState.PENDING,
        request=request.model_dump(mode="json", exclude_none=True, exclude=_SEALED),
        plan=route,
        scene=scene,
        typical_seconds=plan.typical_seconds[1],
        estimated_cost_micros=plan.estimated_cost_micros,
        reserved_micros=plan.estimated_cost_micros,
        webhook=_sealed_webhook(engine, request),
        **_named_alike(request) | own,
    )
    attempts, outputs = _attempts_and_outputs(plan, job.id)
    return _New(
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


def _sealed_webhook(engine: Engine, request: VideoRequest) -> bytes | None:
    if request.webhook_url is None:
        return None
    return engine.vault.seal_json({"url": request.webhook_url, "secret": request.webhook_secret})


def _attempts_and_outputs(plan: Plan, job_id: str) -> tuple[list[NewAttempt], list[NewOutput]]:
    attempts: list[NewAttempt] = []
    outputs: list[NewOutput] = []
    for count in plan.attempt_counts:
        attempt = NewAttempt(
            id=new_id("att"),
            job=job_id,
            provider=plan.provider,
            account=plan.account,
            route=route_of(plan),
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
        now=times.created_at,
    )
    return job_view(shown, api_url=engine.settings.api_url, vault=engine.vault)


def route_of(plan: Plan) -> str:
    """The route of learned durations: the upstream model and the length of its videos."""
    return f"{plan.provider}/{plan.upstream}/{plan.duration_seconds}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A request that came with an Idempotency-Key, and its sealed first answer."""

    job: str
    deleted_at: datetime | None
    body_hash: bytes
    response: bytes = field(repr=False)


async def first_answer(
    engine: Engine, connection: Connection, tenant: str, caller: Caller
) -> Accepted | None:
    """The first response to this Idempotency-Key; a concurrent duplicate waits for the first.

    Raises:
        RequestRefused: the key came with another body, or its job was deleted since.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"{tenant}\n{caller.idempotency_key}",),
    )
    first = await fetch_row(
        connection,
        _Answered,
        """
        SELECT job, deleted_at, body_hash, response
        FROM idempotency JOIN job ON job.id = idempotency.job
        WHERE idempotency.tenant = %s AND key = %s
        """,
        (tenant, caller.idempotency_key),
    )
    if first is None:
        return None
    if first.body_hash != caller.body_hash:
        msg = "this Idempotency-Key was used with another request body"
        raise RequestRefused(msg, type="idempotency_mismatch", param="Idempotency-Key")
    if first.deleted_at is not None:  # a second job would be paid for under the same key
        raise job_deleted(first.job, first.deleted_at)
    view = engine.vault.open_json(first.response)
    return Accepted(job_id=first.job, lane=due.NO_LANE, view=view, is_repeat=True)


async def _remember(
    engine: Engine, connection: Connection, tenant: str, caller: Caller, view: Json
) -> None:
    await connection.execute(
        """
        INSERT INTO idempotency (tenant, key, body_hash, job, response)
        VALUES (%s, %s, %s, %s, %s)
        """,
        (
            *(tenant, caller.idempotency_key, caller.body_hash),
            *(view["id"], engine.vault.seal_json(view)),
        ),
    )


async def _existing(
    engine: Engine,
    connection: Connection,
    new: _New,
    tenant: str,
    *,
    refusal: RequestRefused | None,
) -> Accepted:
    """The existing job with this id, if it is this tenant's; if there is none, raises `refusal`."""
    jobs = await read_jobs(connection, [new.job.id])
    if not jobs and refusal is not None:
        raise refusal
    if not jobs or jobs[0].tenant != tenant:
        msg = f"job_id {new.job.id!r} is taken"
        raise RequestRefused(msg, param="job_id")
    view = job_view(jobs[0], api_url=engine.settings.api_url, vault=engine.vault)
    return Accepted(job_id=new.job.id, lane=due.NO_LANE, view=view, is_repeat=True)
