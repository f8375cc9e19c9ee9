"""The list of jobs: filters in its address, a page at a time, and as a file."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.front import front_of, in_time, key_of
from api.native.jobs import FILTERS, filter_of
from api.pages.listing import Listing, read_listing
from api.pages.live import watched
from api.pages.rendering import Entry, page
from api.pages.visits import ROOT, PageRoute
from models.failure import Failure
from models.state import FINAL_JOB_STATES, public_status
from tasks import jobs
from tasks.listing import Filter, list_own
from tasks.view import ShownJob, iso, progress_percent, usd

ENTRY: Final = Entry(title="Jobs", path="jobs")
#: Rows of a file, and of one question for them.
MOST_IN_FILE: Final = 5000
_AT_ONCE: Final = 500
#: Maximum number of queries for one file: with a rare filter each reads `tasks.listing.WALK` jobs.
_MOST_QUESTIONS: Final = 100
_COLUMNS: Final = (
    *("id", "status", "model", "provider", "app_id", "batch_id", "tenant", "created_at"),
    *("finished_at", "cost_usd", "error_code", "prompt"),
)

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job as lists show it."""

    job: ShownJob

    @property
    def status(self) -> str:
        return public_status(self.job.state)

    @property
    def is_final(self) -> bool:
        return self.job.state in FINAL_JOB_STATES

    @property
    def percent(self) -> int:
        return progress_percent(self.job)

    @property
    def provider(self) -> str:
        return str(self.job.shown_plan["provider"])

    @property
    def seconds(self) -> float | None:
        """From its submission, or its start, to its end or now; None if it has yet to start."""
        begins = max(self.job.created_at, self.job.run_at or self.job.created_at)
        end: datetime = self.job.finished_at or self.job.now
        return (end - begins).total_seconds() if end > begins else None

    @property
    def micros(self) -> int:
        """What it cost, or while it is unfinished what it is estimated to cost."""
        if self.is_final:
            return self.job.cost_micros or 0
        return self.job.estimated_cost_micros

    @property
    def failure(self) -> Failure | None:
        return Failure.from_json(self.job.error) if self.job.error else None


@router.get(f"{ROOT}/jobs")
async def list_jobs(request: Request) -> Response:
    """The jobs that the filters of the address match, newest first."""
    listing = read_listing(request, *FILTERS)
    front = front_of(request)
    live = await watched(request)
    found = await in_time(
        list_own(
            front.engine,
            _wanted(listing),
            limit=listing.page.reach,
            after=listing.page.after,
        )
    )
    shown = listing.page.answer(found.jobs, JobLine, walked_to=found.walked_to)
    return page(
        request,
        "jobs.html",
        title="Jobs",
        entry=ENTRY,
        live=live,
        listing=listing,
        lines=shown["data"],
        following=shown["next"],
        statuses=tuple(jobs.STATES),
        models=[model.name for model in front.engine.catalog.models()],
        providers=sorted({each.partition(":")[0] for each in front.engine.accounts}),
        own=key_of(request).tenant,
        most_in_file=MOST_IN_FILE,
    )


@router.get(f"{ROOT}/jobs.csv")
async def download(request: Request) -> Response:
    """The same list as a file, up to MOST_IN_FILE jobs."""
    listing = read_listing(request, *FILTERS)
    wanted = _wanted(listing)
    first = await _rows(request, wanted, after=listing.page.after)
    headers = {
        "Content-Disposition": 'attachment; filename="jobs.csv"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    pieces = _pieces(request, wanted, first)
    return StreamingResponse(pieces, headers=headers, media_type="text/csv; charset=utf-8")


def _wanted(listing: Listing) -> Filter:
    return filter_of(listing.page, tenant=listing.tenant)


@dataclass(frozen=True, slots=True)
class _Rows:
    jobs: list[ShownJob]
    following: str | None


async def _rows(request: Request, wanted: Filter, *, after: str | None) -> _Rows:
    engine = front_of(request).engine
    found = await in_time(list_own(engine, wanted, limit=_AT_ONCE, after=after))
    is_full = len(found.jobs) == _AT_ONCE
    return _Rows(found.jobs, found.jobs[-1].id if is_full else found.walked_to)


async def _pieces(request: Request, wanted: Filter, rows: _Rows) -> AsyncIterator[str]:
    yield _lines([_COLUMNS])
    left = MOST_IN_FILE
    for asked in range(1, _MOST_QUESTIONS + 1):
        taken = rows.jobs[:left]
        left -= len(taken)
        yield _lines([_cells(JobLine(job)) for job in taken])
        if rows.following is None or not left or asked == _MOST_QUESTIONS:
            return
        rows = await _rows(request, wanted, after=rows.following)


def _cells(line: JobLine) -> tuple[object, ...]:
    job = line.job
    return (
        *(job.id, line.status, job.model, line.provider, job.app_id, job.batch_id, job.tenant),
        *(iso(job.created_at), iso(job.finished_at), usd(line.micros)),
        *(line.failure.code if line.failure else None, job.prompt),
    )


def _lines(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(each) for each in row] for row in rows])
    return text.getvalue()


def _cell(value: object) -> object:
    """The value; a quote keeps a caller's text from being a formula in a spreadsheet."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
