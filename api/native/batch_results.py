"""Batches after their submission: read, list, cancel, retry, and their results."""

from collections.abc import AsyncIterator

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.answers import answer, encode
from api.body import read_json
from api.caller import caller_of
from api.front import TenantRoute, front_of, in_time, key_of
from api.native.batch_schemas import Batch, BatchLine, BatchList, RetryOptions
from api.native.batches import ANSWERS_WITHIN, accepted_answer
from api.native.listing import checked_text, read_page
from api.native.tenants import TENANT, any_or_own, wanted_tenant, with_tenant
from api.openapi import (
    ACCEPTED,
    PAGE_PARAMETERS,
    RETRY,
    body_of,
    failures,
    parameter,
    responses,
    schema_of,
)
from models.failure import RequestRefused
from models.records import Json
from models.verbs import What
from tasks.batches import control
from tasks.batches.results import PAGE, STATUSES, check_status, results
from tasks.batches.retry import retry as retry_batch
from tasks.batches.view import batch_view

router = APIRouter(route_class=TenantRoute, tags=["Batches"])


@router.get(
    "/v1/batches",
    summary="List batches",
    responses=responses(200, BatchList, "Newest first", 400),
    openapi_extra={
        "parameters": [
            parameter("status", "Only these", {"enum": list(control.STATUSES)}),
            parameter("app_id", "Only what was submitted under this X-App-ID"),
            TENANT,
            *PAGE_PARAMETERS,
        ]
    },
)
async def list_batches(request: Request) -> Response:
    """The batches of the key's tenant or of `tenant`, newest first."""
    page = read_page(request, "status", "app_id", "tenant")
    found = await in_time(
        control.list_own(
            front_of(request).engine,
            tenant=wanted_tenant(request, page.filters.get("tenant")),
            limit=page.reach,
            after=page.after,
            status=page.filters.get("status"),
            app_id=page.filters.get("app_id"),
        )
    )
    return answer(
        page.answer(found, lambda each: with_tenant(request, batch_view(each), each.tenant))
    )


@router.get(
    "/v1/batches/{batch_id}",
    summary="Read a batch",
    responses=responses(200, Batch, "The batch as it is now", 404),
)
async def read(request: Request, batch_id: str) -> Response:
    """The batch with its counts, what its lines have cost and what the others may still cost.

    An admin key reads any tenant's, and its results and events.
    """
    engine = front_of(request).engine
    batch = await in_time(control.read(engine, batch_id, tenant=any_or_own(request)))
    return answer(with_tenant(request, batch_view(batch), batch.tenant))


@router.post(
    "/v1/batches/{batch_id}/cancel",
    summary="Cancel a batch",
    responses=responses(200, Batch, "The batch; a final one is unchanged", 404),
)
async def cancel(request: Request, batch_id: str) -> Response:
    """End the lines that have not ended; complete ones stay, and so do their results.

    It is `cancelling` until all of them have ended, which takes seconds.
    """
    front = front_of(request)
    batch, hints = await in_time(
        control.cancel(front.engine, batch_id, tenant=key_of(request).tenant)
    )
    front.send(hints)
    return answer(batch_view(batch))


@router.post(
    "/v1/batches/{batch_id}/retry",
    status_code=202,
    summary="Retry a batch",
    responses=responses(202, Batch, ACCEPTED, 400, 402, 404, 409, 413, 422, 429),
    openapi_extra=RETRY | body_of(RetryOptions, required=False),
)
async def retry(request: Request, batch_id: str) -> Response:
    """Submit the failed lines again, as a new batch whose `retry_of` names it.

    They keep their `line` and `custom_id`, and are made and paid for like any other. Lines that
    were deleted or have not ended are left out.
    """
    front, key = front_of(request), key_of(request)
    wanted = _retry_options(await read_json(request) if await request.body() else {})
    # A repeat of the Idempotency-Key for anything else is another request.
    asked = {"retry_of_batch": batch_id, "include_cancelled": wanted.include_cancelled}
    caller = caller_of(request.headers, asked, api_key=key.id)
    work = retry_batch(
        front.engine,
        batch_id,
        tenant=key.tenant,
        caller=caller,
        include_cancelled=wanted.include_cancelled,
    )
    accepted = await in_time(work, seconds=ANSWERS_WITHIN)
    front.send((What.SUBMIT, lane) for lane in accepted.lanes)
    return accepted_answer(accepted)


def _retry_options(body: object) -> RetryOptions:
    try:
        return RetryOptions.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the request body"
        message = f"{name[:64]}: {first['msg']}; known: include_cancelled, true or false"
        raise RequestRefused(message, param=name[:64] if first["loc"] else None) from None


@router.get(
    "/v1/batches/{batch_id}/results",
    summary="Read a batch's results",
    responses={
        200: {
            "description": "One line of JSON for each line of the batch, in its order, whatever "
            "state the batch is in",
            "content": {"application/jsonl": {"schema": schema_of(BatchLine)}},
        },
        **failures(400, 404),
    },
    openapi_extra={
        "parameters": [
            parameter("status", "Only lines with this status", {"enum": list(STATUSES)}),
            parameter("after", "Only lines behind this one", {"type": "integer", "minimum": 0}),
        ]
    },
)
async def read_results(request: Request, batch_id: str) -> Response:
    """Each line's status and job, streamed; `?after=` goes on after an interrupted read."""
    status, after = _parameters(request)
    engine = front_of(request).engine
    batch = await in_time(control.read(engine, batch_id, tenant=any_or_own(request)))
    lines = results(engine, batch, status=status, after=after)
    return StreamingResponse(_encoded(lines), media_type="application/jsonl")


async def _encoded(lines: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    """Lines of JSON, many to a chunk: each chunk costs as much as many lines."""
    chunk: list[bytes] = []
    async for line in lines:
        chunk.append(encode(line) + b"\n")
        if len(chunk) == PAGE:
            yield b"".join(chunk)
            chunk = []
    yield b"".join(chunk)


def _parameters(request: Request) -> tuple[str | None, int]:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in {"status", "after"}:
            message = f"{name[:64]} is not a known parameter; known: status, after"
            raise RequestRefused(message, param=name[:64])
        if name in given:
            raise RequestRefused(f"{name} is given more than once", param=name)
        given[name] = checked_text(name, value)
    status = check_status(given["status"]) if "status" in given else None
    return status, _line(given.get("after", "0"))


def _line(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 9):  # noqa: PLR2004 - of an integer column
        message = f"after must be a line's number, from 0 (it is {value[:64]})"
        raise RequestRefused(message, param="after")
    return int(value)
