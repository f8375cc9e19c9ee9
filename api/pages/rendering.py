"""Pages as text: the templates, links below the prefix, and the headers of each page."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of
from api.pages import words
from api.pages.assets import ASSETS
from api.pages.visits import ROOT, TOKEN_FIELD, Visit
from tasks.glances import Asked, Seen

#: Nothing but our own files is loaded, run or sent to; nobody frames a page.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A page's place in the navigation."""

    title: str
    #: Below ROOT, without a slash.
    path: str
    #: Whether it is shown to admins only.
    is_operators: bool = False


@dataclass(frozen=True, slots=True)
class Live:
    """What a page watches, and how that was when it was drawn."""

    asked: Asked
    seen: Seen


class Links:
    """Addresses of pages, as browsers reach them: `link("jobs", job.id, status="failed")`."""

    def __init__(self, prefix: str) -> None:
        self._root = f"{prefix}{ROOT}"

    def __call__(self, *segments: object, **query: object) -> str:
        path = "/".join([self._root, *(quote(str(each), safe="") for each in segments)])
        given = {name: value for name, value in query.items() if value not in {None, ""}}
        return f"{path}?{urlencode(given)}" if given else path

    def asset(self, name: str) -> str:
        return self("static", name, v=ASSETS[name].version)


def page(
    request: Request,
    template: str,
    *,
    title: str,
    entry: Entry | None = None,
    status: int = 200,
    live: Live | None = None,
    **values: Any,
) -> Response:
    """The answer of a page to its visitor.

    `template` is a file of `templates/` that extends `layout.html` and uses `values` by their
    names; `title` is the browser's tab's, `entry` the page's place in the navigation, and `live`
    what it watches, if it changes while it is looked at.
    """
    visit: Visit | None = getattr(request.state, "visit", None)
    prefix = front_of(request).engine.settings.ui_prefix
    given = values | {"title": title, "entry": entry, "visit": visit, "live": live}
    return html(template, status=status, prefix=prefix, **given)


def html(template: str, *, status: int, prefix: str, **values: Any) -> Response:
    """A page for whoever asks; `values` has the visit, if there is one."""
    visit: Visit | None = values.setdefault("visit", None)
    values.setdefault("entry", None)
    values.setdefault("live", None)
    text = (
        environment()
        .get_template(template)
        .render(
            link=Links(prefix),
            entries=_entries(visit) if visit else (),
            token_field=TOKEN_FIELD,
            form_token=visit.token if visit else None,
            now=datetime.now(UTC),
            **values,
        )
    )
    return Response(text, status, headers=HEADERS, media_type="text/html; charset=utf-8")


def _entries(visit: Visit) -> tuple[Entry, ...]:
    from api.pages.registry import ENTRIES  # noqa: PLC0415 - the pages' modules import this one

    return tuple(each for each in ENTRIES if visit.session.is_admin or not each.is_operators)


@cache
def environment() -> Environment:
    """The templates, read once; what they show is escaped, and an unknown name raises."""
    made = Environment(
        loader=PackageLoader("api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    shown = (
        *(words.clean, words.day_time, words.dollars, words.exact, words.read_time),
        words.seconds,
    )
    filters: dict[str, Callable[..., str | datetime | None]] = {
        each.__name__: each for each in shown
    }
    made.filters |= filters | {"bytes": words.bytes_}
    return made
