"""One job: its life, its videos, its webhooks and its money, and what may be done with it."""

import json
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.front import front_of, in_time, key_of
from api.native.content import is_index, stored_answer
from api.native.deliveries import seen_delivery
from api.native.tenants import any_or_own
from api.pages import snippets
from api.pages.jobs import ENTRY, JobLine
from api.pages.live import watched
from api.pages.rendering import Links, page
from api.pages.visits import ROOT, PageRoute, form_of, only_field, visit_of
from models.failure import RequestRefused, not_found
from models.records import Json
from models.state import FINAL_JOB_STATES, JOB_NEXT, JobState
from tasks import deliveries, jobs, traces
from tasks.deletion import delete as delete_job
from tasks.repeats import Caller, canonical_hash
from tasks.retry import RETRIABLE
from tasks.retry import retry as retry_job
from tasks.traces import Traces
from tasks.view import ShownJob, job_view

#: Webhooks of a job that are shown: it has one, or one for each video that came late.
_MOST_DELIVERIES: Final = 50
_SEE_OTHER: Final = 303
#: The length of the line that a job's life is drawn as, and of its shortest part.
_LINE: Final = 1000
_SHORTEST: Final = 6
_ENDS: Final = frozenset({JobState.FAILED, JobState.CANCELLED})

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A state on the job's way, reached or yet to come."""

    state: str
    at: datetime | None
    #: Until the next state, or so far in the present one; None if it is yet to come, or final.
    seconds: float | None
    is_present: bool = False
    #: Where it begins in a line of _LINE that is the job's life so far, and how much of it it took.
    begins: int = 0
    share: int = 0


@router.get(f"{ROOT}/jobs/{{job_id}}")
async def show(request: Request, job_id: str) -> Response:
    """The job as it is now."""
    front = front_of(request)
    engine, tenant = front.engine, any_or_own(request)
    live = await watched(request, job=job_id)
    job = await in_time(jobs.read(engine, job_id, tenant=tenant))
    is_operators = key_of(request).is_admin
    traced = await in_time(
        traces.read(engine, job_id, tenant=job.tenant, is_operators=is_operators)
    )
    sent = await in_time(
        deliveries.list_newest(engine, tenant=tenant, limit=_MOST_DELIVERIES, job_id=job_id)
    )
    is_own = job.tenant == key_of(request).tenant
    api_url = engine.settings.api_url
    return page(
        request,
        "job.html",
        title=f"Job {job.id}",
        entry=ENTRY,
        live=None if _is_at_rest(job, sent) else live,
        line=JobLine(job),
        job=job,
        view=_without_links(job_view(job, api_url=api_url, vault=engine.vault)),
        # A video that has not been inspected yet may have stills.
        has_stills={each.position: each.stills_bytes != 0 for each in job.outputs},
        steps=steps_of(job, traced),
        traced=traced,
        deliveries=[seen_delivery(request, each) for each in sent],
        may_change=is_own and not visit_of(request).session.is_read_only,
        is_final=job.state in FINAL_JOB_STATES,
        is_retriable=job.state in RETRIABLE,
        curl=snippets.as_curl(job, api_url=api_url),
        python=snippets.as_python(job, api_url=api_url),
        raw=_raw,
        once=secrets.token_hex(8),
    )


@router.get(f"{ROOT}/jobs/{{job_id}}/videos/{{position}}")
async def video(request: Request, job_id: str, position: str) -> Response:
    """A stored video, for the page's player; takes `Range`."""
    if not is_index(position):
        raise not_found("Video")
    return await stored_answer(request, job_id, tenant=any_or_own(request), position=int(position))


@router.post(f"{ROOT}/jobs/{{job_id}}/cancel")
async def cancel(request: Request, job_id: str) -> Response:
    """End the job now."""
    front = front_of(request)
    _, hints = await in_time(jobs.cancel(front.engine, job_id, tenant=key_of(request).tenant))
    front.send(hints)
    return back_to(request, job_id)


@router.post(f"{ROOT}/jobs/{{job_id}}/retry")
async def retry(request: Request, job_id: str) -> Response:
    """Submit its request again; to the new job. A form that is sent twice makes one job."""
    front, key = front_of(request), key_of(request)
    caller = caller_of_form(request, job_id, {"retry_of": job_id})
    accepted, hints = await in_time(
        retry_job(front.engine, job_id, tenant=key.tenant, caller=caller)
    )
    front.send(hints)
    return back_to(request, accepted.job_id)


@router.post(f"{ROOT}/jobs/{{job_id}}/delete")
async def delete(request: Request, job_id: str) -> Response:
    """Delete the job; one that is not final is cancelled first."""
    front = front_of(request)
    _, hints = await in_time(delete_job(front.engine, job_id, tenant=key_of(request).tenant))
    front.send(hints)
    return back_to(request)


@router.post(f"{ROOT}/jobs/{{job_id}}/deliveries/{{delivery_id}}/replay")
async def replay(request: Request, job_id: str, delivery_id: str) -> Response:
    """Send a webhook once more."""
    front = front_of(request)
    _, hints = await in_time(
        deliveries.replay(front.engine, delivery_id, tenant=key_of(request).tenant)
    )
    front.send(hints)
    return back_to(request, job_id)


def caller_of_form(request: Request, id_: str, asked: Json) -> Caller:
    """The caller of a form that retries a job or batch; its field `once` makes resending a repeat.

    `asked` is the operation that the form requests.
    """
    once = only_field(form_of(request), "once")
    if once is None:
        raise RequestRefused("the form must have the field once", param="once")
    return Caller(
        api_key=visit_of(request).session.api_key,
        idempotency_key=f"page-{once[:64]}-{id_}"[:255],
        body_hash=canonical_hash(asked),
    )


def back_to(request: Request, *job: str) -> Response:
    """To a job's page, or without one to the list."""
    links = Links(front_of(request).engine.settings.ui_prefix)
    return RedirectResponse(links("jobs", *job), _SEE_OTHER)


def steps_of(job: ShownJob, traced: Traces) -> list[Step]:
    """The states of the job's way in their order: those that it reached, and those before it."""
    reached = [event for event in traced.events if event.kind in set(JobState)]
    steps = []
    for number, event in enumerate(reached):
        is_last = number == len(reached) - 1
        is_final = event.kind in FINAL_JOB_STATES
        until = (job.now if is_last else reached[number + 1].at) if not is_final else None
        steps.append(
            Step(
                state=event.kind,
                at=event.at,
                seconds=(until - event.at).total_seconds() if until else None,
                is_present=is_last,
            )
        )
    steps = _drawn(steps)
    present = JobState(steps[-1].state) if steps else None
    while present is not None and (after := _onward(present)):
        present = after
        steps.append(Step(state=present, at=None, seconds=None))
    return steps


def _drawn(steps: list[Step]) -> list[Step]:
    """The steps with their parts of the line; the shortest can still be seen."""
    took = [step.seconds or 0.0 for step in steps]
    least = sum(took) * _SHORTEST / _LINE
    lengths = [max(each, least) if each else 0.0 for each in took]
    whole, drawn, begins = sum(lengths), list[Step](), 0
    for step, length in zip(steps, lengths, strict=True):
        share = round(length / whole * _LINE) if whole else 0
        drawn.append(replace(step, begins=begins, share=share))
        begins += share
    return drawn


def _onward(state: JobState) -> JobState | None:
    """The state that follows if all goes well; None if none does."""
    return next((each for each in JOB_NEXT[state] if each not in _ENDS), None)


def _is_at_rest(job: ShownJob, sent: list[deliveries.ListedDelivery]) -> bool:
    """Whether nothing more happens by itself: its stream would hold a place for nothing."""
    return job.state in FINAL_JOB_STATES and all(
        each.next_try_at is None and not each.is_under_way for each in sent
    )


def _without_links(view: Json) -> Json:
    """The API's view without addresses that whoever has them may use."""
    outputs = [
        {name: value for name, value in each.items() if name != "url"}
        for each in view.get("outputs", ())
    ]
    shown = {name: value for name, value in view.items() if name != "video_url"}
    return shown | ({"outputs": outputs} if "outputs" in view else {})


def _raw(value: Any) -> str:
    """JSON for people; numbers as they were given."""
    return json.dumps(value, ensure_ascii=False, indent=2)
