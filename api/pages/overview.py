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
from models.verbs import What
from tasks import overview
from tasks.lanes import LaneState, Stop, read_lanes
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an account at a provider is, by what it has to do."""

    account: str
    stop: Stop | None
    #: From 0 to 1: what its limits leave.
    pace: float
    due: int
    in_flight: int


@router.get(f"{ROOT}/overview")
async def show(request: Request) -> Response:
    """The numbers of the session's tenant; an admin's of all, or of the one that is named."""
    listing = read_listing(request)
    front = front_of(request)
    live = await watched(request)
    seen = await in_time(overview.read(front.engine, tenant=listing.tenant))
    is_operators = key_of(request).is_admin
    lanes = await in_time(read_lanes(front.engine, named=_NAMED)) if is_operators else []
    return page(
        request,
        "overview.html",
        title="Overview",
        entry=ENTRY,
        live=live,
        listing=listing,
        seen=seen,
        most_budgets=overview.MOST_BUDGETS,
        bars=bars_of(seen.parts),
        most=max(each.complete + each.failed for each in seen.parts),
        unfinished=[
            (state, count)
            for state, count in seen.unfinished.items()
            if not JobState(state).is_final
        ],
        lanes=_held_up(lanes) if is_operators else None,
        accounts=_health(lanes),
    )


def bars_of(parts: tuple[Part, ...]) -> list[Bar]:
    """The parts to scale; one that has any jobs has a height."""
    most = max(each.complete + each.failed for each in parts) or 1

    def scaled(count: int) -> int:
        return max(2, round(count / most * _HEIGHT)) if count else 0

    return [
        Bar(part=each, complete=scaled(each.complete), failed=scaled(each.failed)) for each in parts
    ]


def _health(lanes: list[LaneState]) -> list[Health]:
    """Each account, by its submits and polls; those that are stopped or slowed down come first."""
    of_account: dict[str, list[LaneState]] = {}
    for each in lanes:
        if each.what in {What.SUBMIT, What.POLL}:
            of_account.setdefault(each.lane, []).append(each)
    found = [
        Health(
            account=account,
            stop=next((each.paused for each in works if each.paused), None),
            pace=min(each.pace for each in works),
            due=sum(each.due for each in works),
            in_flight=sum(each.in_flight for each in works),
        )
        for account, works in of_account.items()
    ]
    return sorted(found, key=lambda each: (each.stop is None, each.pace, each.account))


def _held_up(lanes: list[LaneState]) -> list[LaneState]:
    """Those with due work or a stop, the longest waiting first."""
    meant = [each for each in lanes if each.due or each.in_flight or each.paused]
    return sorted(meant, key=lambda each: (-each.oldest_seconds, each.what, each.lane))
