"""Usage: what the jobs of a time were and cost, in groups, drawn to scale and as a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, in_time
from api.native.listing import read_time
from api.native.usage import as_csv
from api.pages.listing import Listing, read_listing
from api.pages.rendering import Entry, page
from api.pages.visits import ROOT, PageRoute, visit_of
from models.failure import RequestRefused
from tasks.usage import GROUPS, Usage, usage

ENTRY: Final = Entry(title="Usage", path="usage")
#: Days that are shown unless the address says otherwise.
DAYS: Final = 30
#: What to group by, and what that is called.
_NAMES: Final = {
    "day": "Day",
    "model": "Model",
    "provider": "Provider",
    "app_id": "App",
    "key": "Key",
    "tenant": "Tenant",
}
#: Of groups, the filter of the list of jobs that shows their jobs.
_FILTERS: Final = {"model": "model", "app_id": "app_id", "tenant": "tenant"}
#: The height of the chart, and the most days that it draws.
_HEIGHT: Final = 100
_MOST_DAYS: Final = 92

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One group, and its part of the dearest one's cost, from 0 to 100."""

    name: str | None
    usage: Usage
    share: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day as the chart draws it."""

    at: datetime
    micros: int
    jobs: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All groups together."""

    jobs: int
    complete: int
    failed: int
    videos: int
    video_seconds: float
    cost_micros: int
    reserved_micros: int


@router.get(f"{ROOT}/usage")
async def show(request: Request) -> Response:
    """The groups that the address asks for; without a time those of the last DAYS days."""
    listing = _asked(request)
    group_by, since, until = _wanted(listing)
    found = await _read(request, listing)
    most = max((each.cost_micros for each in found), default=0)
    return page(
        request,
        "usage.html",
        title="Usage",
        entry=ENTRY,
        listing=listing,
        group_by=group_by,
        groups={
            name: title
            for name, title in _NAMES.items()
            if name != "tenant" or visit_of(request).session.is_admin
        },
        filter_name=_FILTERS.get(group_by),
        since=since,
        until=until,
        rows=[
            Row(
                name=each.group_value,
                usage=each,
                share=round(100 * each.cost_micros / most) if most else 0,
            )
            for each in (reversed(found) if group_by == "day" else _dearest_first(found))
        ],
        days=days_of(found, since=since, until=until) if group_by == "day" else [],
        totals=totals_of(found),
        most=most,
    )


@router.get(f"{ROOT}/usage.csv")
async def download(request: Request) -> Response:
    """The same groups as a file."""
    listing = _asked(request)
    group_by, _, _ = _wanted(listing)
    headers = {
        "Content-Disposition": f'attachment; filename="usage-by-{group_by}.csv"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    text = as_csv(await _read(request, listing), group_by)
    return Response(text, headers=headers, media_type="text/csv; charset=utf-8")


def _asked(request: Request) -> Listing:
    for name in ("after", "limit"):
        if name in request.query_params:
            msg = f"{name} is not a parameter of usage, which has one page"
            raise RequestRefused(msg, param=name)
    return read_listing(request, "group_by", "since", "until")


def _wanted(listing: Listing) -> tuple[str, datetime, datetime | None]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = read_time("since", listing.value("since")) or today - timedelta(days=DAYS - 1)
    group_by = listing.value("group_by") or "day"
    if group_by not in GROUPS:
        message = f"group_by must be one of {', '.join(GROUPS)} (it is {group_by[:64]})"
        raise RequestRefused(message, param="group_by")
    return group_by, since, read_time("until", listing.value("until"))


async def _read(request: Request, listing: Listing) -> list[Usage]:
    group_by, since, until = _wanted(listing)
    engine = front_of(request).engine
    return await in_time(
        usage(engine, tenant=listing.tenant, group_by=group_by, since=since, until=until)
    )


def _dearest_first(found: Sequence[Usage]) -> list[Usage]:
    return sorted(found, key=lambda each: (-each.cost_micros, -each.jobs, each.group_value or ""))


def days_of(found: Sequence[Usage], *, since: datetime, until: datetime | None) -> list[Day]:
    """Every day of the time, also those without jobs; the last ones, if they are too many."""
    by_day = {each.group_value: each for each in found}
    most = max((each.cost_micros for each in found), default=0)
    end = min(until or datetime.now(UTC), datetime.now(UTC))
    first = max(since, end - timedelta(days=_MOST_DAYS - 1))
    days, at = list[Day](), first.replace(hour=0, minute=0, second=0, microsecond=0)
    while at <= end and len(days) < _MOST_DAYS:
        each = by_day.get(f"{at:%Y-%m-%d}")
        micros = each.cost_micros if each else 0
        height = max(2, round(_HEIGHT * micros / most)) if micros else 0
        days.append(Day(at=at, micros=micros, jobs=each.jobs if each else 0, height=height))
        at += timedelta(days=1)
    return days


def totals_of(found: Sequence[Usage]) -> Totals:
    """The sums over all groups."""
    return Totals(
        jobs=sum(each.jobs for each in found),
        complete=sum(each.complete for each in found),
        failed=sum(each.failed for each in found),
        videos=sum(each.videos for each in found),
        video_seconds=sum(each.video_seconds for each in found),
        cost_micros=sum(each.cost_micros for each in found),
        reserved_micros=sum(each.reserved_micros for each in found),
    )
