"""Intake: the one door through which a job comes into being, whole or not at all."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb

from catalog.plan import Plan
from catalog.resolve import resolve
from models import due
from models.database import Connection
from models.failure import RequestRefused
from models.ids import new_id, new_marker
from models.request import VideoRequest
from models.scene import PICTURES
from models.state import JobState
from tasks.engine import Engine
from tasks.pictures import check_references
from tasks.view import job_view, read_jobs
from webhooks.signing import BadSecret, secret_bytes

#: By how much a priority moves a job forward in its tenant's turn, in seconds: it overtakes what
#: came up to so much earlier, and is overtaken by nothing for ever.
HEAD_START = {"low": 0.0, "normal": 600.0, "high": 4200.0}

#: Left out of the stored request: kept sealed, since an address may be a signed link.
_SEALED = {"webhook_url", "webhook_secret", *PICTURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What the HTTP edge knows beside the request's body."""

    app_id: str | None = None
    idempotency_key: str | None = None
    #: SHA-256 of the body as canonical JSON.
    body_hash: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A job that is durable, or the one that an Idempotency-Key names already."""

    job_id: str
    lane: str
    #: The public view as it was first answered.
    view: dict[str, Any] = field(repr=False)
    is_repeat: bool = False


def canonical_hash(body: object) -> bytes:
    """SHA-256 of a JSON value, whatever the order of its keys and its white space."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


async def accept(
    engine: Engine,
    request: VideoRequest,
    *,
    tenant: str,
    job_id: str | None = None,
    caller: Caller | None = None,
) -> Accepted:
    """Check a request against its route and make its rows, in one transaction.

    A `job_id` or Idempotency-Key that exists already gives the first job back.

    Raises:
        RequestRefused: the request can't be carried out; no row was written.
        DatabaseAway: PostgreSQL can't be reached; nothing was accepted.
    """
    caller, started = caller or Caller(), time.monotonic()
    if caller.idempotency_key:  # a repeat is answered even if the model has gone since
        first = await engine.database.run(
            lambda connection: _first_answer(engine, connection, tenant, caller)
        )
        if first is not None:
            return first
    check_webhook(engine, request)
    plan = resolve(request, engine.catalog, engine.accounts)
    new = _rows(engine, request, plan, tenant=tenant, job_id=job_id or new_id("job_vid"))

    async def work(connection: Connection) -> Accepted:
        if caller.idempotency_key and (
            first := await _first_answer(engine, connection, tenant, caller)
        ):
            return first
        await check_references(connection, plan, tenant=tenant)
        times = await _insert(connection, new, caller)
        if times is None:
            return await _existing(engine, connection, new, tenant)
        view = _first_view(engine, new, caller, times)
        view["perf"]["latency_ms"] = round((time.monotonic() - started) * 1000)
        if caller.idempotency_key:
            await _remember(engine, connection, tenant, caller, view)
        return Accepted(job_id=new.job["id"], lane=plan.account, view=view)

    try:
        return await engine.database.run(work)
    except ForeignKeyViolation:
        msg = f"tenant {tenant!r} is not known; `longtake keys create --tenant` makes one"
        raise RequestRefused(msg, param="tenant") from None


def check_webhook(engine: Engine, request: VideoRequest) -> None:
    """Refuse at once what could never be delivered."""
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
    job: dict[str, Any]
    attempts: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    #: What the first view is made of: the rows as they will be.
    plan: Plan
    stored_request: dict[str, Any]


def _rows(engine: Engine, request: VideoRequest, plan: Plan, *, tenant: str, job_id: str) -> _New:
    stored = request.model_dump(mode="json", exclude_none=True, exclude=_SEALED)
    webhook = None
    if request.webhook_url is not None:
        webhook = engine.vault.seal_json(
            {"url": request.webhook_url, "secret": request.webhook_secret}
        )
    route = plan.to_json()
    scene = engine.vault.seal_json(route.pop("scene"))
    job = {
        "id": job_id,
        "tenant": tenant,
        "app_id": None,
        "request_id": new_id("req_vid"),
        "state": JobState.PENDING,
        "model": request.model,
        "prompt": request.prompt,
        "request": Jsonb(stored),
        "plan": Jsonb(route),
        "scene": scene,
        "typical_seconds": plan.typical_seconds[1],
        "estimated_cost_micros": plan.estimated_cost_micros,
        "unknown_policy": request.unknown_policy or engine.settings.unknown_policy,
        "webhook": webhook,
        "run_at": request.run_at,
        "deadline_seconds": request.deadline_seconds or engine.settings.deadline_seconds,
        "start_within": request.start_within_seconds,
        "head_start": HEAD_START[request.priority],
    }
    attempts, outputs = _attempts_and_outputs(plan, job_id)
    return _New(job=job, attempts=attempts, outputs=outputs, plan=plan, stored_request=stored)


def _attempts_and_outputs(
    plan: Plan, job_id: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    attempts: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    for count in plan.attempt_counts:
        attempt = {
            "id": new_id("att"),
            "marker": new_marker(),
            "count": count,
        }
        attempts.append(attempt)
        first = len(outputs)
        outputs.extend(
            {
                "id": new_id("out"),
                "job": job_id,
                "attempt": attempt["id"],
                "position": first + number,
            }
            for number in range(count)
        )
    return attempts, outputs


async def _insert(connection: Connection, new: _New, caller: Caller) -> dict[str, Any] | None:
    """All rows of a job in one statement; returns its times, or None when its id is taken."""
    cursor = await connection.execute(
        """
        WITH made AS (
            INSERT INTO job (id, tenant, app_id, request_id, state, model, prompt, request, plan,
                             scene, typical_seconds, estimated_cost_micros, unknown_policy, webhook,
                             run_at, progress_source, deadline_at, start_by)
            VALUES (%(id)s, %(tenant)s, %(app_id)s, %(request_id)s, %(state)s, %(model)s,
                    %(prompt)s, %(request)s, %(plan)s, %(scene)s, %(typical_seconds)s,
                    %(estimated_cost_micros)s, %(unknown_policy)s, %(webhook)s, %(run_at)s,
                    'estimated',
                    greatest(now(), %(run_at)s) + %(deadline_seconds)s * interval '1 second',
                    greatest(now(), %(run_at)s) + %(start_within)s * interval '1 second')
            ON CONFLICT (id) DO NOTHING
            RETURNING id, tenant, created_at, deadline_at, start_by,
                      CASE WHEN run_at > now() THEN run_at
                           ELSE now() - %(head_start)s * interval '1 second' END AS submit_at
        ), attempts AS (
            INSERT INTO attempt (id, job, provider, account, route, state, marker, count)
            SELECT new.id, made.id, %(provider)s, %(account)s, %(route)s, 'planned', new.marker,
                   new.count
            FROM made, unnest(%(attempts)s::text[], %(markers)s::text[], %(counts)s::int[])
                       AS new(id, marker, count)
            RETURNING id, account
        ), outputs AS (
            INSERT INTO output (id, job, attempt, position, state)
            SELECT new.id, made.id, new.attempt, new.position, 'expected'
            FROM made, unnest(%(outputs)s::text[], %(owners)s::text[], %(positions)s::int[])
                       AS new(id, attempt, position)
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
        SELECT created_at, deadline_at FROM made
        """,
        new.job
        | {
            "app_id": caller.app_id,
            "provider": new.plan.provider,
            "account": new.plan.account,
            "route": route_of(new.plan),
            "attempts": [attempt["id"] for attempt in new.attempts],
            "markers": [attempt["marker"] for attempt in new.attempts],
            "counts": [attempt["count"] for attempt in new.attempts],
            "outputs": [output["id"] for output in new.outputs],
            "owners": [output["attempt"] for output in new.outputs],
            "positions": [output["position"] for output in new.outputs],
            "no_lane": due.NO_LANE,
        },
    )
    return await cursor.fetchone()


def _first_view(engine: Engine, new: _New, caller: Caller, times: dict[str, Any]) -> dict[str, Any]:
    """The view of a job that was just made, without reading it back."""
    row = {
        **new.job,
        "app_id": caller.app_id,
        "request": new.stored_request,
        "plan": new.plan.to_json(),
        "progress_percent": 0,
        "progress_source": "estimated",
        "error": None,
        "cost_micros": None,
        "accepted_at": None,
        "finished_at": None,
        "now": times["created_at"],
        "outputs": [],
        **times,
    }
    return job_view(row, api_url=engine.settings.api_url, vault=engine.vault)


def route_of(plan: Plan) -> str:
    """What durations are learned for: the upstream model and the length of its videos."""
    return f"{plan.provider}/{plan.upstream}/{plan.duration_seconds}s"


async def _first_answer(
    engine: Engine, connection: Connection, tenant: str, caller: Caller
) -> Accepted | None:
    """What this Idempotency-Key was first answered; a racing duplicate waits here for the first."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"{tenant}\n{caller.idempotency_key}",),
    )
    cursor = await connection.execute(
        "SELECT job, body_hash, response FROM idempotency WHERE tenant = %s AND key = %s",
        (tenant, caller.idempotency_key),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    if row["body_hash"] != caller.body_hash:
        msg = "this Idempotency-Key was used with another request body"
        raise RequestRefused(msg, type="idempotency_mismatch", param="Idempotency-Key")
    view = engine.vault.open_json(row["response"])
    return Accepted(job_id=row["job"], lane=due.NO_LANE, view=view, is_repeat=True)


async def _remember(
    engine: Engine, connection: Connection, tenant: str, caller: Caller, view: dict[str, Any]
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


async def _existing(engine: Engine, connection: Connection, new: _New, tenant: str) -> Accepted:
    """The job that has this id already, if it is this tenant's."""
    rows = await read_jobs(connection, [new.job["id"]])
    if not rows or rows[0]["tenant"] != tenant:
        msg = f"job_id {new.job['id']!r} is taken"
        raise RequestRefused(msg, param="job_id")
    view = job_view(rows[0], api_url=engine.settings.api_url, vault=engine.vault)
    return Accepted(job_id=new.job["id"], lane=due.NO_LANE, view=view, is_repeat=True)
