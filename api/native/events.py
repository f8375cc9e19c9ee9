"""Server-sent events: what happens to a job, as it happens, to a client that comes back or not."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.front import TenantRoute, front_of, in_time, key_of
from api.native.tenants import any_or_own
from api.openapi import EVENTS, failures, parameter
from api.streams import last_event_id, message
from models.records import Json
from models.state import FINAL_JOB_STATES, public_status
from tasks.history import Asked, Seen, Transition, begin
from tasks.view import ShownJob, iso, job_view

router = APIRouter(route_class=TenantRoute, tags=["Video generations"])


async def hold_place(request: Request) -> AsyncIterator[None]:
    """The place of a stream, from before its request reads anything until its response ended."""
    with front_of(request).streams.place(key_of(request).tenant):
        yield


LAST_EVENT_ID: Final = parameter(
    "Last-Event-ID",
    "The last `id` that was received: what happened since is sent",
    {"pattern": "^[0-9]{1,18}$"},
    place="header",
)


@router.get(
    "/v1/video/generations/{job_id}/events",
    summary="Follow a video generation",
    response_class=Response,  # no media type, so that errors are documented as JSON
    responses=EVENTS | failures(400, 404, 429),
    openapi_extra={"parameters": [LAST_EVENT_ID]},
    dependencies=[Depends(hold_place)],
)
async def follow(request: Request, job_id: str) -> Response:
    """The job's events until it is final, as `text/event-stream` for `EventSource` and others.

    First `job` with the job as it is now, then `status` at each change of its state and `progress`
    as it proceeds; `final`, with the whole job, is the last. A client that comes back with
    `Last-Event-ID` gets what it missed, and 204 if it has had all. A stream ends after an hour.
    """
    front, key = front_of(request), key_of(request)
    after = last_event_id(request.headers)
    whose = any_or_own(request)
    job, seen = await in_time(begin(front.engine, job_id, tenant=whose, after=after))
    newest = seen.events[-1].id if seen.events else 0
    if seen.is_final and after is not None and after >= newest:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    view = partial(job_view, api_url=front.engine.settings.api_url, vault=front.engine.vault)
    first = []
    if not seen.is_final:
        first.append(message("job", view(job), id=newest if after is None else None))
    asked = Asked(job=job_id, after=newest if after is None else after, key=key.id)
    teller = _JobTeller(asked=asked, percent=seen.percent, view=view)
    return front.streams.stream(front.job_watcher, teller, first=[*first, *teller.told(seen)])


@dataclass(slots=True, kw_only=True)
class _JobTeller:
    """What one listener is told of a job."""

    #: `after` is the last event that it was told.
    asked: Asked
    #: The progress that it was told.
    percent: int
    view: Callable[[ShownJob], Json]
    is_over: bool = False

    def told(self, seen: Seen) -> list[bytes]:
        """Each event once, in order; `final` with the whole job as the last; nothing if gone."""
        if seen.is_gone:
            self.is_over = True
            return []
        messages = []
        for event in seen.events:
            if event.id <= (self.asked.after or 0):
                continue
            self.asked = replace(self.asked, after=event.id)
            if event.state not in FINAL_JOB_STATES:
                messages.append(message("status", _status(self.asked.job, event), id=event.id))
        if seen.job is not None:
            self.is_over = True
            messages.append(message("final", self.view(seen.job), id=self.asked.after))
        elif seen.percent != self.percent and not seen.is_final:
            self.percent = seen.percent
            messages.append(message("progress", _progress(self.asked.job, seen)))
        return messages


def _status(job: str, event: Transition) -> Json:
    return {
        "id": job,
        "status": public_status(event.state),
        "state": event.state,
        "at": iso(event.at),
    }


def _progress(job: str, seen: Seen) -> Json:
    return {
        "id": job,
        "status": public_status(seen.state),
        "progress_percent": seen.percent,
        "progress_source": seen.source,
    }
