"""The first page: how it goes, and for operators where it is held up."""

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, in_time, key_of
from api.pages.listing import read_listing
from api.pages.live import watched
from api.pages.rendering import Entry, page
from api.pages.visits import ROOT, PageRoute
from models.state import JobState
from tasks import accounts, overview
from tasks.lanes import LaneState, read_lanes
from tasks.overview import Part

ENTRY: Final = Entry(title="Overview", path="overview")
#: Receivers of webhooks, and tenants with pictures, that are named.
_NAMED: Final = 5
#: The height of the chart.
_HEIGHT: Final = 100

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A part of the time as the chart draws it: the heights of its two numbers."""

    part: Part
    complete: int
    failed: int


@router.get(f"{ROOT}/overview")
async def show(request: Request) -> Response:
    """The numbers of the session's tenant; an admin's of all, or of the one that is named."""
    listing = read_listing(request)
    front = front_of(request)
    live = await watched(request)
    seen = await in_time(overview.read(front.engine, tenant=listing.tenant))
    is_operators = key_of(request).is_admin
    return page(
        request,
        "overview.html",
        title="Overview",
        entry=ENTRY,
        live=live,
        listing=listing,
        seen=seen,
        bars=bars_of(seen.parts),
        most=max(each.complete + each.failed for each in seen.parts),
        unfinished=[
            (state, count)
            for state, count in seen.unfinished.items()
            if not JobState(state).is_final
        ],
        lanes=_held_up(await in_time(read_lanes(front.engine, named=_NAMED)))
        if is_operators
        else None,
        accounts=await in_time(accounts.list_accounts(front.engine)) if is_operators else None,
    )


def bars_of(parts: tuple[Part, ...]) -> list[Bar]:
    """The parts to scale; one that has any jobs has a height."""
    most = max(each.complete + each.failed for each in parts) or 1

    def scaled(count: int) -> int:
        return max(2, round(count / most * _HEIGHT)) if count else 0

    return [
        Bar(part=each, complete=scaled(each.complete), failed=scaled(each.failed)) for each in parts
    ]


def _held_up(lanes: list[LaneState]) -> list[LaneState]:
    """Those with due work or a stop, the longest waiting first."""
    meant = [each for each in lanes if each.due or each.in_flight or each.paused]
    return sorted(meant, key=lambda each: (-each.oldest_seconds, each.what, each.lane))
