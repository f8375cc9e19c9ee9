"""Dead letters: messages of the broker that were refused, why, and one more try for each."""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.errors import STATUS
from api.front import front_of, in_time, key_of
from api.pages.listing import read_listing
from api.pages.live import watched
from api.pages.rendering import Entry, Links, page
from api.pages.visits import ROOT, PageRoute, visit_of
from models.failure import RequestRefused
from tasks import letters
from tasks.forms import ENQUEUE_BATCH

ENTRY: Final = Entry(title="Dead letters", path="letters")
#: Refusals that say nothing of the letter, or that it is gone: they are pages of their own.
_ERRORS: Final = frozenset({"not_found", "internal_error", "service_unavailable"})
_SEE_OTHER: Final = 303

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(f"{ROOT}/letters")
async def list_dead(request: Request) -> Response:
    """The dead letters, newest first, without what their senders wrote."""
    return await _list(request)


@router.post(f"{ROOT}/letters/{{letter_id}}/retry")
async def retry(request: Request, letter_id: str) -> Response:
    """Take the letter in once more: to its job or batch, or to the list with today's refusal."""
    front = front_of(request)
    try:
        made = await in_time(letters.retry(front.engine, letter_id, tenant=key_of(request).tenant))
    except RequestRefused as refusal:
        if refusal.type in _ERRORS:
            raise
        return await _list(request, refused=letter_id, refusal=refusal)
    front.send(made.hints)
    links = Links(front.engine.settings.ui_prefix)
    kind = "batches" if made.form is ENQUEUE_BATCH else "jobs"
    return RedirectResponse(links(kind, made.id), _SEE_OTHER)


async def _list(
    request: Request, *, refused: str | None = None, refusal: RequestRefused | None = None
) -> Response:
    """The list; with `refusal`, of the letter `refused` that was retried in vain."""
    listing = read_listing(request)
    live = None if refusal else await watched(request)
    found = await in_time(
        letters.list_dead(
            front_of(request).engine,
            tenant=listing.tenant,
            limit=listing.page.reach,
            after=listing.page.after,
        )
    )
    shown = listing.page.answer(found, lambda letter: letter)
    return page(
        request,
        "letters.html",
        title="Dead letters",
        entry=ENTRY,
        status=int(STATUS[refusal.type]) if refusal else 200,
        live=live,
        listing=listing,
        letters=shown["data"],
        following=shown["next"],
        refused=refused,
        refusal=refusal,
        batch_task=ENQUEUE_BATCH.task,
        own=key_of(request).tenant,
        may_change=not visit_of(request).session.is_read_only,
    )
