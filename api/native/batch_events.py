"""Server-sent events of a batch: its counts and its cost, as its lines start and end."""

from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.front import TenantRoute, front_of, in_time, key_of
from api.native.events import LAST_EVENT_ID, hold_place
from api.native.tenants import any_or_own
from api.openapi import EVENTS, failures
from api.streams import last_event_id, message
from models.failure import RequestRefused
from models.records import Json
from tasks.batches.control import read
from tasks.batches.following import Asked, Seen, place
from tasks.batches.view import batch_view

router = APIRouter(route_class=TenantRoute, tags=["Batches"])

#: What `progress` has of the view: all that changes while lines run.
_PROGRESS = ("id", "status", "counts", "reserved_cost_usd", "cost_usd")


@router.get(
    "/v1/batches/{batch_id}/events",
    summary="Follow a batch",
    response_class=Response,  # no media type, so that errors are documented as JSON
    responses=EVENTS | failures(400, 404, 429),
    openapi_extra={"parameters": [LAST_EVENT_ID]},
    dependencies=[Depends(hold_place)],
)
async def follow(request: Request, batch_id: str) -> Response:
    """The batch until it is final, as `text/event-stream` for `EventSource` and others.

    First `batch` with the batch as it is now, then `progress` with its counts whenever lines
    started or ended; `final`, with the whole batch, is the last. A client that comes back with
    `Last-Event-ID` gets what is new, and 204 if it has had all. A stream ends after an hour.
    """
    front, key = front_of(request), key_of(request)
    after = last_event_id(request.headers)
    batch = await in_time(read(front.engine, batch_id, tenant=any_or_own(request)))
    if after is not None and after > place(batch):
        msg = f"Last-Event-ID must be the id of an event of batch {batch_id} (it is {after})"
        raise RequestRefused(msg, param="Last-Event-ID")
    if batch.finished_at is not None and after == place(batch):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    teller = _BatchTeller(asked=Asked(batch=batch_id, key=key.id), told_to=after)
    first = teller.told(Seen(batch=batch))
    return front.streams.stream(front.batch_watcher, teller, first=first)


@dataclass(slots=True, kw_only=True)
class _BatchTeller:
    """What one listener is told of a batch."""

    asked: Asked
    #: The place that it knows; None: nothing yet.
    told_to: int | None
    is_over: bool = False

    def told(self, seen: Seen) -> list[bytes]:
        """The batch if it is further than its listener knows; nothing if it is gone."""
        if seen.batch is None:
            self.is_over = True
            return []
        at, view = place(seen.batch), batch_view(seen.batch)
        if at == self.told_to:
            return []
        kind, data = self._message(view, is_final=seen.is_over)
        self.told_to, self.is_over = at, seen.is_over
        return [message(kind, data, id=at)]

    def _message(self, view: Json, *, is_final: bool) -> tuple[str, Json]:
        if is_final:
            return "final", view
        if self.told_to is None:
            return "batch", view
        return "progress", {name: view[name] for name in _PROGRESS}
