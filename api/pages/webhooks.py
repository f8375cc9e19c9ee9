"""Webhooks: every delivery with its tries, replay, and for operators the receivers that fail."""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.front import front_of, in_time, key_of
from api.native.deliveries import seen_delivery
from api.pages.listing import read_listing
from api.pages.live import watched
from api.pages.rendering import Entry, Links, page
from api.pages.visits import ROOT, PageRoute, visit_of
from models.verbs import What
from tasks import deliveries
from tasks.lanes import OTHERS, LaneState, read_lanes

ENTRY: Final = Entry(title="Webhooks", path="webhooks")
FILTERS: Final = ("status", "job_id", "batch_id")
#: Receivers that operators see by name.
_NAMED: Final = 20
_SEE_OTHER: Final = 303

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(f"{ROOT}/webhooks")
async def list_deliveries(request: Request) -> Response:
    """The deliveries that the filters of the address match, newest first."""
    listing = read_listing(request, *FILTERS)
    front = front_of(request)
    live = await watched(request)
    found = await in_time(
        deliveries.list_newest(
            front.engine,
            tenant=listing.tenant,
            limit=listing.page.reach,
            after=listing.page.after,
            job_id=listing.value("job_id"),
            batch_id=listing.value("batch_id"),
            state=listing.value("status"),
        )
    )
    shown = listing.page.answer(found, lambda each: seen_delivery(request, each))
    is_operators = key_of(request).is_admin
    return page(
        request,
        "webhooks.html",
        title="Webhooks",
        entry=ENTRY,
        live=live,
        listing=listing,
        deliveries=shown["data"],
        following=shown["next"],
        statuses=deliveries.STATES,
        own=key_of(request).tenant,
        may_change=not visit_of(request).session.is_read_only,
        receivers=receivers_of(await in_time(read_lanes(front.engine, named=_NAMED)))
        if is_operators
        else [],
    )


@router.post(f"{ROOT}/webhooks/{{delivery_id}}/replay")
async def replay(request: Request, delivery_id: str) -> Response:
    """Send it again; to the list of its job's, or its batch's, deliveries."""
    front = front_of(request)
    delivery, hints = await in_time(
        deliveries.replay(front.engine, delivery_id, tenant=key_of(request).tenant)
    )
    front.send(hints)
    links = Links(front.engine.settings.ui_prefix)
    return RedirectResponse(
        links("webhooks", job_id=delivery.job, batch_id=delivery.batch), _SEE_OTHER
    )


def receivers_of(lanes: list[LaneState]) -> list[LaneState]:
    """Hosts with due deliveries or an open breaker; the sum of the others if it has any."""
    return [
        each
        for each in lanes
        if each.what is What.DELIVER
        and (each.due or each.in_flight or each.paused)
        and (each.lane != OTHERS or each.lanes)
    ]
