"""Sign-in with a link that is used once, and sign-out."""

import secrets
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.admission import admitted
from api.front import front_of, in_time
from api.pages.rendering import Links, page
from api.pages.visits import (
    BEGINS,
    COOKIE,
    ROOT,
    OwnRoute,
    cookie_of,
    drop_cookie,
    foreign,
    set_cookie,
    take_form,
    token_of,
    visit_of,
)
from models.page_sessions import LINK_LIVES
from tasks import sign_in

#: Where a session begins.
_FIRST: Final = "overview"
_SEE_OTHER: Final = 303

#: Nobody is signed in yet.
router = APIRouter(include_in_schema=False)
own_router = APIRouter(include_in_schema=False, route_class=OwnRoute)


@router.get(ROOT)
async def first(request: Request) -> Response:
    """To the page that a session begins with."""
    return _to(request, _FIRST)


@router.get(f"{ROOT}/in/{{link}}")
async def look_at(request: Request, link: str) -> Response:
    """What the link would open, and a button: programs that preview links do not use it up."""
    front = front_of(request)
    session = await admitted(request).proved(lambda: in_time(sign_in.look_at(front.engine, link)))
    begins = request.cookies.get(BEGINS) or secrets.token_urlsafe(32)
    answer = page(
        request, "sign_in.html", title="Sign in", session=session, own_token=token_of(begins)
    )
    set_cookie(answer, request, BEGINS, begins, lives=LINK_LIVES)
    return answer


@router.post(f"{ROOT}/in/{{link}}")
async def begin(request: Request, link: str) -> Response:
    """Use the link; the browser has a session from now on.

    A form that is sent twice, as by a double click, begins one session: its cookie is made of what
    this browser began with.
    """
    begins = request.cookies.get(BEGINS)
    if not begins:  # every site could make the token of none
        raise foreign()
    await take_form(request, token=token_of(begins))
    front, cookie = front_of(request), cookie_of(begins, link)
    await admitted(request).proved(lambda: in_time(sign_in.begin(front.engine, link, cookie)))
    answer = _to(request, _FIRST)
    set_cookie(answer, request, COOKIE, cookie)
    drop_cookie(answer, request, BEGINS)
    return answer


@own_router.post(f"{ROOT}/out")
async def end(request: Request) -> Response:
    """End the session."""
    await in_time(sign_in.end(front_of(request).engine, visit_of(request).session))
    answer = page(request, "signed_off.html", title="Signed out")
    drop_cookie(answer, request, COOKIE)
    return answer


def _to(request: Request, *segments: str) -> Response:
    links = Links(front_of(request).engine.settings.ui_prefix)
    return RedirectResponse(links(*segments), _SEE_OTHER)
