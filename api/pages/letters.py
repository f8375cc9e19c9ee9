"""Dead letters: broker messages that were refused, the reason, and a retry for each."""

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
#: Refusals that are not about the letter, or say that it is gone: they get an error page.
_ERRORS: Final = frozenset({"not_found", "internal_error", "service_unavailable"})
_SEE_OTHER: Final = 303

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(f"{ROOT}/letters")
async def list_dead(request: Request) -> Response:
    """The dead letters, newest first, without their content."""
    return await _list(request)


@router.post(f"{ROOT}/letters/{{letter_id}}/retry")
async def retry(request: Request, letter_id: str) -> Response:
    """Retry the letter; redirect to its job or batch, or show the list with the new refusal."""
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
    """The list of dead letters; `refusal` is why the retry of the letter `refused` failed."""
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
