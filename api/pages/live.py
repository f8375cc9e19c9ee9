"""The one stream of a tab: it says that what the page shows has changed, and never what."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, in_time, key_of
from api.native.tenants import any_or_own
from api.pages.rendering import Live
from api.pages.visits import ROOT, PageRoute, visit_of
from api.streams import message
from models.failure import RequestRefused
from tasks import glances
from tasks.glances import Asked, Seen

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: What the browser hears.
_CHANGED: Final = "changed"
_KNOWN: Final = ("job", "mark")


async def watched(request: Request, *, job: str | None = None) -> Live:
    """What a page watches: one job, or all that the session may read."""
    front = front_of(request)
    session = visit_of(request).session.id
    asked = Asked(session=session, tenant=any_or_own(request), job=job)
    seen = await in_time(glances.look(front.engine, [asked]))
    return Live(asked, seen[asked])


async def hold_place(request: Request) -> AsyncIterator[None]:
    """The place of a stream, until its response ended."""
    with front_of(request).streams.place(key_of(request).tenant):
        yield


@router.get(f"{ROOT}/live", dependencies=[Depends(hold_place)])
async def follow(request: Request) -> Response:
    """`changed` whenever the page is to be drawn again; `mark` is what it was drawn from."""
    front = front_of(request)
    query = request.query_params
    for name in query:
        if name not in _KNOWN:
            msg = f"{name[:64]} is not a known parameter; known: {', '.join(_KNOWN)}"
            raise RequestRefused(msg, param=name[:64])
    live = await watched(request, job=query.get("job"))
    teller = _Teller(asked=live.asked, mark=query.get("mark", ""), tick=live.seen.tick)
    return front.streams.stream(front.page_watcher, teller, first=teller.told(live.seen))


@dataclass(slots=True, kw_only=True)
class _Teller:
    """What one tab has heard."""

    asked: Asked
    mark: str
    tick: int | None
    is_over: bool = False

    def told(self, seen: Seen) -> Sequence[bytes]:
        if seen.is_gone:
            self.is_over = True
            return [message(_CHANGED, {})]  # the page then says what became of it
        if (seen.mark, seen.tick) == (self.mark, self.tick):
            return []
        self.mark, self.tick = seen.mark, seen.tick
        return [message(_CHANGED, {})]
