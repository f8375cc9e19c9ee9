"""Batches: submit many requests at once."""

from dataclasses import replace
from functools import partial
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer, limit_headers
from api.body import takes_up_to
from api.caller import caller_of
from api.dialects.openai_videos import given_fields, with_defaults
from api.dialects.submitting import adapted
from api.front import TenantRoute, front_of, in_time, key_of
from api.native.batch_schemas import Batch, BatchEstimate
from api.openapi import BATCH, failures
from models.batch import MAX_BATCH_BYTES
from models.records import Json
from models.request import VideoRequest
from models.verbs import What
from tasks.batches.checking import merged
from tasks.batches.intake import AcceptedBatch, accept_batch, estimate_batch
from tasks.batches.lines import FileSource
from tasks.engine import Engine

PATH: Final = "/v1/batches"
#: Timeout for checking and inserting all lines, in seconds.
ANSWERS_WITHIN: Final = 120.0

router = APIRouter(route_class=TenantRoute, tags=["Batches"])


@router.post(
    PATH,
    status_code=202,
    summary="Submit a batch",
    responses={
        200: {"model": BatchEstimate, "description": "Of a `dry_run`: nothing was accepted"},
        202: {"model": Batch, "description": "Durable: each line is a job"},
        **failures(400, 402, 413, 422, 429),
    },
    openapi_extra=BATCH,
)
@takes_up_to(MAX_BATCH_BYTES)
async def submit(request: Request) -> Response:
    """Accept up to 100,000 requests, all or none of them, as a batch of jobs.

    The body is JSON Lines, an array, or an object with `options` and `requests`. A line is a
    request, maybe with a `custom_id` that is unique within the batch; the same as
    `{"custom_id", "request"}`; or a line of OpenAI's batches for `/v1/videos` or
    `/v1/video/generations`. An invalid line refuses the batch, unless `on_invalid` is `skip`. With
    an `Idempotency-Key` the same bytes are accepted once. With the option `dry_run` all is checked,
    and the answer is an estimate.
    """
    front, key = front_of(request), key_of(request)
    headers = caller_of(request.headers, None, api_key=key.id)
    async with front.spool.receive(request, tenant=key.tenant) as spooled:
        caller = replace(headers, body_hash=spooled.sha256)
        source = await in_time(FileSource.open(spooled.file), seconds=ANSWERS_WITHIN)
        adapt = partial(_adapted, front.engine, key.tenant)
        if source.options.get("dry_run") is True:
            estimating = estimate_batch(
                front.engine, source, tenant=key.tenant, caller=caller, adapt=adapt
            )
            return answer(await in_time(estimating, seconds=ANSWERS_WITHIN))
        accepting = accept_batch(
            front.engine, source, tenant=key.tenant, caller=caller, adapt=adapt
        )
        accepted = await in_time(accepting, seconds=ANSWERS_WITHIN)
    front.send((What.SUBMIT, lane) for lane in accepted.lanes)
    return accepted_answer(accepted)


def accepted_answer(accepted: AcceptedBatch) -> Response:
    """202 with the batch's view."""
    repeated = {"Idempotent-Replayed": "true"} if accepted.is_repeat else {}
    return answer(accepted.view, status=202, headers=repeated | limit_headers(accepted.allowance))


async def _adapted(engine: Engine, tenant: str, body: Json, defaults: Json) -> VideoRequest:
    """The native request of a line for the OpenAI Videos API."""
    named: Json = {name: defaults[name] for name in ("prompt", "model") if name in defaults}
    own = given_fields(merged(named, body))
    if defaults:  # adapting takes for granted that all fields are valid by themselves
        VideoRequest.from_json({**defaults, "prompt": own["prompt"]})
    fields = with_defaults(merged(defaults, own))
    return (await adapted(engine, fields, tenant=tenant)).request
