"""Batches: the list, one batch with its counts, cancel and retry, and its results as a file."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.front import front_of, in_time, key_of
from api.native import batch_results
from api.native.batches import ANSWERS_WITHIN
from api.native.tenants import any_or_own
from api.pages.job import caller_of_form
from api.pages.listing import read_listing
from api.pages.live import watched
from api.pages.rendering import Entry, Links, page
from api.pages.visits import ROOT, PageRoute, form_of, only_field, visit_of
from models.failure import RequestRefused
from models.records import Json
from models.verbs import What
from tasks.batches import control
from tasks.batches.results import STATUSES
from tasks.batches.retry import retry as retry_batch
from tasks.batches.view import ShownBatch, batch_view

ENTRY: Final = Entry(title="Batches", path="batches")
#: What lines may be, in the order in which they are drawn.
_KINDS: Final = ("complete", "failed", "cancelled", "processing", "pending", "invalid")
#: The length of the line that a batch's counts are drawn as.
_LINE: Final = 1000
#: Invalid lines that are shown; a batch keeps up to a thousand.
_MOST_ERRORS: Final = 50
_SEE_OTHER: Final = 303

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The lines of one kind, and their part of the drawn line."""

    kind: str
    count: int
    begins: int
    share: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """A batch as pages show it."""

    tenant: str
    view: Json
    #: Charged so far, what unfinished lines hold, and the estimate at the submission.
    charged_micros: int
    reserved_micros: int
    estimated_micros: int

    @property
    def parts(self) -> Sequence[Part]:
        return parts_of(self.view["counts"])

    @property
    def percent(self) -> int:
        """Lines that have ended, rounded down: 100 means all."""
        counts = self.view["counts"]
        ended = counts["total"] - counts["pending"] - counts["processing"]
        return 100 * ended // counts["total"] if counts["total"] else 100

    @property
    def is_final(self) -> bool:
        return self.view["finished_at"] is not None


@router.get(f"{ROOT}/batches")
async def list_batches(request: Request) -> Response:
    """The batches that the filters of the address match, newest first."""
    listing = read_listing(request, "status", "app_id")
    live = await watched(request)
    found = await in_time(
        control.list_own(
            front_of(request).engine,
            tenant=listing.tenant,
            limit=listing.page.reach,
            after=listing.page.after,
            status=listing.value("status"),
            app_id=listing.value("app_id"),
        )
    )
    shown = listing.page.answer(found, line_of)
    return page(
        request,
        "batches.html",
        title="Batches",
        entry=ENTRY,
        live=live,
        listing=listing,
        lines=shown["data"],
        following=shown["next"],
        statuses=control.STATUSES,
    )


@router.get(f"{ROOT}/batches/{{batch_id}}")
async def show(request: Request, batch_id: str) -> Response:
    """The batch as it is now."""
    live = await watched(request)
    batch = await in_time(
        control.read(front_of(request).engine, batch_id, tenant=any_or_own(request))
    )
    line = line_of(batch)
    is_own = batch.tenant == key_of(request).tenant
    counts = line.view["counts"]
    return page(
        request,
        "batch.html",
        title=f"Batch {batch.name or batch.id}",
        entry=ENTRY,
        live=None if line.is_final else live,
        line=line,
        batch=line.view,
        options=_options(line.view),
        errors=line.view["errors"][:_MOST_ERRORS],
        statuses=STATUSES,
        may_change=is_own and not visit_of(request).session.is_read_only,
        is_retriable=bool(counts["failed"] or counts["cancelled"]),
        average_micros=batch.estimated_cost_micros // batch.lines if batch.lines else 0,
        once=secrets.token_hex(8),
    )


@router.get(f"{ROOT}/batches/{{batch_id}}/results")
async def download(request: Request, batch_id: str) -> Response:
    """A line of JSON for each line of the batch, as the API's, to be saved as a file."""
    answer = await batch_results.read_results(request, batch_id)
    answer.headers["Content-Disposition"] = f'attachment; filename="{batch_id}.jsonl"'
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


@router.post(f"{ROOT}/batches/{{batch_id}}/cancel")
async def cancel(request: Request, batch_id: str) -> Response:
    """End the lines that have not ended."""
    front = front_of(request)
    _, hints = await in_time(control.cancel(front.engine, batch_id, tenant=key_of(request).tenant))
    front.send(hints)
    return _to(request, batch_id)


@router.post(f"{ROOT}/batches/{{batch_id}}/retry")
async def retry(request: Request, batch_id: str) -> Response:
    """Submit its failed lines again; to the new batch. A form that is sent twice makes one."""
    front, key = front_of(request), key_of(request)
    chosen = only_field(form_of(request), "include_cancelled")
    if chosen not in {None, "yes"}:
        msg = f"include_cancelled must be yes or left out (it is {str(chosen)[:64]!r})"
        raise RequestRefused(msg, param="include_cancelled")
    asked = {"retry_of_batch": batch_id, "include_cancelled": chosen is not None}
    work = retry_batch(
        front.engine,
        batch_id,
        tenant=key.tenant,
        caller=caller_of_form(request, batch_id, asked),
        include_cancelled=chosen is not None,
    )
    accepted = await in_time(work, seconds=ANSWERS_WITHIN)
    front.send((What.SUBMIT, lane) for lane in accepted.lanes)
    return _to(request, accepted.batch_id)


def line_of(batch: ShownBatch) -> BatchLine:
    """A batch as pages show it."""
    return BatchLine(
        tenant=batch.tenant,
        view=batch_view(batch),
        charged_micros=batch.charged_micros,
        reserved_micros=batch.reserved_micros,
        estimated_micros=batch.estimated_cost_micros,
    )


def parts_of(counts: Json) -> list[Part]:
    """The counts as parts of a line; what is there at all can be seen."""
    total, parts, begins = counts["total"], list[Part](), 0
    for kind in _KINDS:
        share = max(4, round(counts[kind] / total * _LINE)) if counts[kind] else 0
        share = min(share, _LINE - begins)
        parts.append(Part(kind=kind, count=counts[kind], begins=begins, share=share))
        begins += share
    return parts


def _options(view: Json) -> str | None:
    """What its owner gave it, as JSON for people; None if that is nothing."""
    given = {name: view[name] for name in ("options", "metadata") if view[name]}
    return json.dumps(given, ensure_ascii=False, indent=2) if given else None


def _to(request: Request, batch_id: str) -> Response:
    links = Links(front_of(request).engine.settings.ui_prefix)
    return RedirectResponse(links("batches", batch_id), _SEE_OTHER)
