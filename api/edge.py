"""Request ids and one log line per request, the outermost middleware; and unhandled errors."""

import re
import time
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_answer
from api.front import begin_request
from api.numbers import HttpNumbers
from models.failure import RequestRefused
from models.ids import new_id

log = structlog.get_logger()

#: Accepted form of a caller's X-Request-ID; otherwise we generate one.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
#: Logged when the client disconnects before the response, as nginx does.
_GONE = 499
#: Routes polled by machines, logged at debug level.
_QUIET = frozenset({"/healthz", "/readyz"})


class Edge:
    """ASGI middleware: each request gets an id and a line of the log, and is counted."""

    def __init__(self, app: ASGIApp, *, numbers: HttpNumbers) -> None:
        self.app = app
        self._numbers = numbers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        begin_request()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        header = (b"x-request-id", request_id.encode())
        status = 0

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self.app(scope, receive, tagged)
        except ClientDisconnect:
            status = _GONE
        finally:
            seconds = time.perf_counter() - began
            self._numbers.note(
                method=scope["method"], route=_route(scope), status=status, seconds=seconds
            )
            _log_request(scope, status=status, seconds=seconds)


class Faults:
    """ASGI middleware: errors that nobody expected, of which at most one answer is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except ClientDisconnect:
            raise
        except Exception:
            if scope["type"] != "http":
                raise
            log.exception("request.failed", route=_route(scope))
            if has_begun:
                raise  # the server closes the connection
            await error_answer(_UNEXPECTED, scope)(scope, receive, noting)


_UNEXPECTED = RequestRefused(
    "internal error; quote the request_id when reporting it", type="internal_error"
)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return new_id("req")


def _log_request(scope: Scope, *, status: int, seconds: float) -> None:
    """Log the route template, never a query, body or header: they contain keys and prompts."""
    route = _route(scope)
    level = "debug" if route in _QUIET and status < 500 else "info"  # noqa: PLR2004 - HTTP server errors
    getattr(log, level)(
        "http.request",
        method=scope["method"],
        route=route,
        status=status,
        ms=round(seconds * 1000, 1),
    )


def _route(scope: Scope) -> str | None:
    route: Any = scope.get("route")
    return getattr(route, "path", None)
