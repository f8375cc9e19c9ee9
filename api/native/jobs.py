"""Video generations: submit, read, list, cancel, retry and delete."""

import time
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer, limit_headers
from api.body import MAX_BODY, compared, off_loop, read_json, takes_up_to
from api.caller import caller_of, milliseconds_since
from api.front import Front, TenantRoute, front_of, in_time, key_of
from api.native.listing import Page, read_page, read_time
from api.native.schemas import DeletedJob, Job, JobList
from api.native.tenants import TENANT, any_or_own, wanted_tenant, with_tenant
from api.openapi import ACCEPTED, PAGE_PARAMETERS, RETRY, SUBMIT, parameter, responses
from api.repeats import watched
from models.records import Json
from models.request import VideoRequest
from tasks import jobs
from tasks.deletion import delete as delete_job
from tasks.listing import MOST_WORDS, Filter, list_own
from tasks.repeats import Accepted
from tasks.retry import retry as retry_job
from tasks.view import ShownJob, iso, job_view

#: Parameters of a list of jobs, beside `tenant`.
FILTERS: Final = (*("status", "model", "app_id", "batch_id", "provider", "since", "until", "text"),)

router = APIRouter(route_class=TenantRoute, tags=["Video generations"])


@router.post(
    "/v1/video/generations",
    status_code=202,
    summary="Submit a video generation",
    responses=responses(202, Job, ACCEPTED, 400, 402, 413, 422, 429),
    openapi_extra=SUBMIT,
)
@takes_up_to(MAX_BODY)
async def submit(request: Request) -> Response:
    """Accept one request as a job, for one or more videos.

    With an `Idempotency-Key` the same request is accepted once: its repeats, for at least 24 hours,
    get the first answer again and the header `Idempotent-Replayed: true`. With `Longtake-Repeats:
    once` an identical request counts as a repeat if it says so (`X-Stainless-Retry-Count`), or if
    the first one's answer did not go out.
    """
    began = time.perf_counter()
    front = front_of(request)
    body = await read_json(request)
    wanted = await off_loop(request, VideoRequest.from_json, body)
    key = key_of(request)
    body = await compared(request, body)
    caller = caller_of(request.headers, body, api_key=key.id)
    caller = watched(request.scope, caller, body, by_default=False)
    accepted, hints = await in_time(
        jobs.submit(front.engine, wanted, tenant=key.tenant, caller=caller)
    )
    front.send(hints)
    if caller.idempotency_key is None:  # a repeat must get the same body, which is stored by now
        accepted.view["perf"].setdefault("latency_ms", milliseconds_since(began))
    return _accepted(accepted)


def _accepted(accepted: Accepted) -> Response:
    repeated = {"Idempotent-Replayed": "true"} if accepted.is_repeat else {}
    headers = repeated | limit_headers(accepted.allowance)
    return answer(accepted.view, status=202, headers=headers)


@router.get(
    "/v1/video/generations",
    summary="List video generations",
    responses=responses(200, JobList, "Newest first", 400),
    openapi_extra={
        "parameters": [
            parameter("status", "Only these", {"enum": list(jobs.STATES)}),
            parameter("model", "Only this model, as it was named at submission"),
            parameter("app_id", "Only what was submitted under this X-App-ID"),
            parameter("batch_id", "Only the lines of this batch"),
            parameter("provider", "Only those that this provider was chosen for at submission"),
            parameter("since", "Only those submitted from then on: a date or a time, UTC"),
            parameter("until", "Only those submitted before then"),
            parameter(
                "text",
                f"Only those whose prompts have these words, up to {MOST_WORDS}, in any order and "
                "case; or the one job with this id or Idempotency-Key",
            ),
            TENANT,
            *PAGE_PARAMETERS,
        ]
    },
)
async def list_generations(request: Request) -> Response:
    """The jobs of the key's tenant or of `tenant`, newest first.

    Lines of a batch are in the order of their numbers, backwards.

    A page reads at most 4,000 jobs. With a filter that few of them match it may hold fewer than
    `limit`, or none, although `has_more` is true: `next` goes on behind them.
    """
    front = front_of(request)
    page = read_page(request, *FILTERS, "tenant")
    wanted = filter_of(page, tenant=wanted_tenant(request, page.filters.get("tenant")))
    found = await in_time(list_own(front.engine, wanted, limit=page.reach, after=page.after))
    return answer(
        page.answer(found.jobs, lambda job: _seen(request, job), walked_to=found.walked_to)
    )


@router.get(
    "/v1/video/generations/{job_id}",
    summary="Read a video generation",
    responses=responses(200, Job, "The job as it is now", 404),
)
async def read(request: Request, job_id: str) -> Response:
    """The job with its status, its progress and, once final, its outputs under fresh links.

    An admin key reads any tenant's.
    """
    engine = front_of(request).engine
    return answer(
        _seen(request, await in_time(jobs.read(engine, job_id, tenant=any_or_own(request))))
    )


@router.post(
    "/v1/video/generations/{job_id}/cancel",
    summary="Cancel a video generation",
    responses=responses(200, Job, "The job; a final one is unchanged", 404),
)
async def cancel(request: Request, job_id: str) -> Response:
    """End the job now: what was not sent is released, what a provider works on is stopped there."""
    front = front_of(request)
    job, hints = await in_time(jobs.cancel(front.engine, job_id, tenant=key_of(request).tenant))
    front.send(hints)
    return answer(_view(front, job))


@router.post(
    "/v1/video/generations/{job_id}/retry",
    status_code=202,
    summary="Retry a video generation",
    responses=responses(202, Job, ACCEPTED, 400, 402, 404, 409, 422, 429),
    openapi_extra=RETRY,
)
async def retry(request: Request, job_id: str) -> Response:
    """Submit a failed or cancelled job's request again, as a new job whose `retry_of` names it.

    The new job is made and paid for like any other. It takes no body; without an X-App-ID it keeps
    the first one's. After `submit_unknown` the first one may have been paid for, too.
    """
    front, key = front_of(request), key_of(request)
    # A repeat of the Idempotency-Key for anything else is another request.
    caller = caller_of(request.headers, {"retry_of": job_id}, api_key=key.id)
    accepted, hints = await in_time(
        retry_job(front.engine, job_id, tenant=key.tenant, caller=caller)
    )
    front.send(hints)
    return _accepted(accepted)


@router.delete(
    "/v1/video/generations/{job_id}",
    summary="Delete a video generation",
    responses=responses(200, DeletedJob, "It is shown to nobody from now on", 404),
)
async def delete(request: Request, job_id: str) -> Response:
    """Delete a job; one that is not final is cancelled first. A repeat gets the same answer.

    Its prompt, pictures, metadata, webhook and videos are erased as soon as its operations have
    ended and its webhook is delivered; its id, its times and its cost stay.
    """
    front = front_of(request)
    deleted, hints = await in_time(delete_job(front.engine, job_id, tenant=key_of(request).tenant))
    front.send(hints)
    return answer(
        {
            "id": deleted.id,
            "object": "video.generation",
            "deleted": True,
            "deleted_at": iso(deleted.deleted_at),
        }
    )


def filter_of(page: Page, *, tenant: str | None) -> Filter:
    """The filter of a list whose parameters are FILTERS; raises RequestRefused for a wrong time."""
    given = page.filters
    return Filter(
        tenant=tenant,
        status=given.get("status"),
        model=given.get("model"),
        app_id=given.get("app_id"),
        batch_id=given.get("batch_id"),
        provider=given.get("provider"),
        since=read_time("since", given.get("since")),
        until=read_time("until", given.get("until")),
        text=given.get("text"),
    )


def _seen(request: Request, job: ShownJob) -> Json:
    """The view of a job that is read, maybe by an admin."""
    return with_tenant(request, _view(front_of(request), job), job.tenant)


def _view(front: Front, job: ShownJob) -> Json:
    engine = front.engine
    return job_view(job, api_url=engine.settings.api_url, vault=engine.vault)
