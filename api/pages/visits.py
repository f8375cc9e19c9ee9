"""Who looks at a page: sessions in cookies, tokens in forms, and routes that ask for both."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.admission import admitted
from api.body import read_body
from api.front import front_of, in_time
from models.failure import RequestRefused
from models.keys import Key
from models.page_sessions import SESSION_LIVES, Session
from tasks import sign_in

log = structlog.get_logger()

#: The path below which everything is a page's.
ROOT: Final = "/ui"
#: The cookie of a session, and the one that a sign-in begins with.
COOKIE: Final = "longtake_ui"
BEGINS: Final = "longtake_ui_begins"
#: The field of every form.
TOKEN_FIELD: Final = "csrf"  # noqa: S105 - a name
#: Fields of a form: more than the largest one has.
_MOST_FIELDS: Final = 256

Form = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of a browser that is signed in."""

    session: Session
    #: What its forms hold: no other site knows it.
    token: str = field(repr=False)

    @property
    def key(self) -> Key:
        """What the API's own rules take the session for: a key of its tenant."""
        session = self.session
        return Key(
            id=session.api_key or session.id, tenant=session.tenant, is_admin=session.is_admin
        )


def visit_of(request: Request) -> Visit:
    """The request's session; only on a PageRoute."""
    visit: Visit = request.state.visit
    return visit


def form_of(request: Request) -> Form:
    """The fields of a form that was sent, with their values; only on a PageRoute."""
    form: Form = request.state.form
    return form


def only_field(form: Form, name: str) -> str | None:
    """The value of a form's field, None for an empty one; raises RequestRefused for two."""
    match form.get(name, ()):
        case () | ("",):
            return None
        case (value,):
            return value
        case _:
            raise RequestRefused(f"{name} is given more than once", param=name)


def amount_in(text: str | None, name: str) -> float | None:
    """The US dollars in a form field, or None if it is empty; raises RequestRefused."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        msg = f"{name} must be a number of US dollars, or empty (it is {text[:64]!r})"
        raise RequestRefused(msg, param=name) from None


def token_of(secret: str) -> str:
    """What the forms of a cookie's bearer hold: who has the form alone can't tell the cookie."""
    return _derived(secret, "a form of the pages")


def cookie_of(begins: str, link: str) -> str:
    """The cookie of the session that a browser opens with a link: of 256 bits, as `begins` is."""
    return _derived(begins, f"the session of {link}")


def _derived(secret: str, purpose: str) -> str:
    digest = hmac.digest(secret.encode(), purpose.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class PageRoute(APIRoute):
    """A route that requires a session, and in a form its token; a session may only read."""

    #: Whether its forms change nothing but the session itself.
    is_harmless = False
    #: Whether it is for admins' sessions alone.
    is_operators = False

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            visit = await identified_visit(request)
            request.state.visit, request.state.key = visit, visit.key
            if self.is_operators and not visit.session.is_admin:
                msg = "this page is for operators: sign in with a link of ui-link --admin"
                raise RequestRefused(msg, code="operators_only")
            if request.method != "GET":
                await take_form(request, token=visit.token)
                if visit.session.is_read_only and not self.is_harmless:
                    msg = "this session only reads: sign in with a link without --read-only"
                    raise RequestRefused(msg, code="read_only")
                log.info("page.form", route=self.path, session=visit.session.id)
            return await handle(request)

        return guarded


class OwnRoute(PageRoute):
    """A route whose forms change the session alone."""

    is_harmless = True


class OperatorsRoute(PageRoute):
    """A route for admins' sessions alone."""

    is_operators = True


async def identified_visit(request: Request) -> Visit:
    """The session of the request's cookie.

    Raises:
        RequestRefused: authentication_error: there is none; rate_limited: too many wrong ones.
    """
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        raise _signed_out("there is no session in this browser")
    front = front_of(request)
    let_in = admitted(request)

    async def look_up() -> Session:
        session = await sign_in.find(front.engine, cookie)
        if session is None:
            raise _signed_out("the session has ended")
        return session

    async def in_turn() -> Session:
        return await let_in.in_turn(look_up)

    session = await let_in.proved(lambda: in_time(in_turn()))
    return Visit(session=session, token=token_of(cookie))


async def take_form(request: Request, *, token: str) -> None:
    """Read the request's form into its state.

    Raises:
        RequestRefused: it is no form of ours: its token is missing or another's, or another site
            sent it.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise foreign()
    try:
        fields = parse_qsl(
            (await read_body(request)).decode(),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=_MOST_FIELDS,
            errors="strict",
        )
    except ValueError:
        msg = f"the form must have up to {_MOST_FIELDS} fields of text in UTF-8"
        raise RequestRefused(msg, code="invalid_form") from None
    form: dict[str, tuple[str, ...]] = {}
    for name, value in fields:
        form[name] = (*form.get(name, ()), value)
    given = form.get(TOKEN_FIELD, ("",))
    if len(given) != 1 or not hmac.compare_digest(given[0].encode(), token.encode()):
        raise foreign()
    request.state.form = form


def set_cookie(
    response: Response, request: Request, name: str, value: str, *, lives: float = SESSION_LIVES
) -> None:
    """A cookie for the pages alone, which no script reads and no other site sends."""
    settings = front_of(request).engine.settings
    response.set_cookie(
        name,
        value,
        max_age=int(lives),
        path=f"{settings.ui_prefix}{ROOT}",
        secure=_is_https(request),
        httponly=True,
        samesite="strict",
    )


def drop_cookie(response: Response, request: Request, name: str) -> None:
    set_cookie(response, request, name, "", lives=0)


def _is_https(request: Request) -> bool:
    settings = front_of(request).engine.settings
    return settings.api_url.startswith("https://") or request.url.scheme == "https"


def _signed_out(message: str) -> RequestRefused:
    return RequestRefused(message, type="authentication_error", code="signed_out")


def foreign() -> RequestRefused:
    """The refusal of a form that another site, or nobody's page, has sent."""
    msg = "the form was not sent by a page of this session: open the page again, and send it there"
    return RequestRefused(msg, code="foreign_form")
