"""Video generations: submit, read, list and cancel."""

import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import read_json
from api.errors import not_found
from api.front import Front, TenantRoute, front_of, in_time, key_of
from api.listing import Row, checked_text, read_page
from api.openapi import PAGE_PARAMETERS, SUBMIT, parameter, responses
from api.schemas import Job, JobList
from models.database import Connection
from models.failure import Failure, Fault, RequestRefused
from models.request import VideoRequest
from models.state import PUBLIC_STATUS, JobState, What
from tasks.finish import finish
from tasks.intake import Accepted, Caller, accept, canonical_hash
from tasks.view import job_view, list_jobs, read_jobs

router = APIRouter(route_class=TenantRoute, tags=["Video generations"])

#: Public status to the states that it covers.
_STATES = {
    status: [state for state in JobState if PUBLIC_STATUS[state] == status]
    for status in dict.fromkeys(PUBLIC_STATUS.values())
}
_CANCELLED = Failure(
    fault=Fault.GONE, code="cancelled", message="the job was cancelled at its owner's request"
)


@router.post(
    "/v1/video/generations",
    status_code=202,
    summary="Submit a video generation",
    responses=responses(
        202, Job, "Durable: the job will reach a final state", 400, 402, 413, 422, 429
    ),
    openapi_extra=SUBMIT,
)
async def submit(request: Request) -> Response:
    """Accept one request as a job, for one or more videos.

    With an `Idempotency-Key` the same request is accepted once: its repeats, for at least 24 hours,
    get the first answer again and the header `Idempotent-Replayed: true`.
    """
    began = time.perf_counter()
    front = front_of(request)
    body = await read_json(request)
    wanted = VideoRequest.from_json(body)
    caller = _caller(request.headers, body)
    accepted = await in_time(
        accept(front.engine, wanted, tenant=key_of(request).tenant, caller=caller)
    )
    _nudge(front, accepted, wanted)
    if accepted.is_repeat:
        return answer(accepted.view, status=202, headers={"Idempotent-Replayed": "true"})
    if caller.idempotency_key is None:  # a repeat must get the same body, which is stored by now
        accepted.view["perf"].setdefault("latency_ms", _milliseconds_since(began))
    return answer(accepted.view, status=202)


def _caller(headers: Headers, body: Any) -> Caller:
    key = _only(headers, "Idempotency-Key")
    return Caller(
        app_id=_only(headers, "X-App-ID"),
        idempotency_key=key,
        body_hash=canonical_hash(body) if key else b"",
    )


def _only(headers: Headers, name: str) -> str | None:
    match headers.getlist(name):
        case []:
            return None
        case [value]:
            return checked_text(name, value)
        case _:
            raise RequestRefused(f"{name} is given more than once", param=name)


def _nudge(front: Front, accepted: Accepted, wanted: VideoRequest) -> None:
    waits = wanted.run_at is not None and wanted.run_at > datetime.now(UTC)
    if not accepted.is_repeat and not waits:
        front.hinter.nudge(What.SUBMIT, accepted.lane)


def _milliseconds_since(began: float) -> int:
    return max(1, round((time.perf_counter() - began) * 1000))


@router.get(
    "/v1/video/generations",
    summary="List video generations",
    responses=responses(200, JobList, "Newest first", 400),
    openapi_extra={
        "parameters": [
            parameter("status", "Only these", {"enum": list(_STATES)}),
            parameter("model", "Only this model, as it was named at submission"),
            parameter("app_id", "Only what was submitted under this X-App-ID"),
            *PAGE_PARAMETERS,
        ]
    },
)
async def list_generations(request: Request) -> Response:
    """The jobs of the key's tenant, newest first."""
    front = front_of(request)
    page = read_page(request, "status", "model", "app_id")
    status = page.filters.get("status")
    if status is not None and status not in _STATES:
        message = f"status must be one of {', '.join(_STATES)} (it is {status[:64]})"
        raise RequestRefused(message, param="status")

    async def work(connection: Connection) -> list[dict[str, Any]]:
        return await list_jobs(
            connection,
            tenant=key_of(request).tenant,
            states=_STATES[status] if status else None,
            model=page.filters.get("model"),
            app_id=page.filters.get("app_id"),
            after=page.after,
            limit=page.reach,
        )

    rows = await in_time(front.engine.database.run(work))
    return answer(page.answer(rows, lambda row: _view(front, row)))


@router.get(
    "/v1/video/generations/{job_id}",
    summary="Read a video generation",
    responses=responses(200, Job, "The job as it is now", 404),
)
async def read(request: Request, job_id: str) -> Response:
    """The job with its status, its progress and, once final, its outputs under fresh links."""
    front = front_of(request)

    async def work(connection: Connection) -> Row:
        return await _own_job(connection, job_id, tenant=key_of(request).tenant)

    return answer(_view(front, await in_time(front.engine.database.run(work))))


@router.post(
    "/v1/video/generations/{job_id}/cancel",
    summary="Cancel a video generation",
    responses=responses(200, Job, "The job; a final one is unchanged", 404),
)
async def cancel(request: Request, job_id: str) -> Response:
    """End the job now: what was not sent is released, what a provider works on is stopped there."""
    front = front_of(request)

    async def work(connection: Connection) -> tuple[Row, list[str]]:
        await _own_job(connection, job_id, tenant=key_of(request).tenant)
        await finish(
            front.engine,
            connection,
            JobState.CANCELLED,
            [job_id],
            failures={job_id: _CANCELLED},
        )
        (row,) = await read_jobs(connection, [job_id])
        return row, await _cancel_lanes(connection, job_id)

    row, lanes = await in_time(front.engine.database.run(work))
    for lane in lanes:
        front.hinter.nudge(What.CANCEL, lane)
    if row["webhook"]:
        front.hinter.nudge(What.DELIVER, None)
    return answer(_view(front, row))


async def _own_job(connection: Connection, job_id: str, *, tenant: str) -> Row:
    rows = await read_jobs(connection, [job_id]) if job_id.isprintable() else []
    if not rows or rows[0]["tenant"] != tenant:
        raise not_found()
    return rows[0]


async def _cancel_lanes(connection: Connection, job_id: str) -> list[str]:
    cursor = await connection.execute(
        """
        SELECT DISTINCT due.lane FROM attempt JOIN due ON due.id = attempt.id
        WHERE attempt.job = %s AND due.what = 'cancel'
        """,
        (job_id,),
    )
    return [row["lane"] for row in await cursor.fetchall()]


def _view(front: Front, row: Row) -> dict[str, Any]:
    engine = front.engine
    return job_view(row, api_url=engine.settings.api_url, vault=engine.vault)
