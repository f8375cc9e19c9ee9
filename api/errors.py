"""Error responses: each part of the API renders its own; the native shape is the default."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, Protocol, runtime_checkable

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from api.answers import answer, limit_headers
from models.database import DatabaseAway
from models.failure import RequestRefused
from models.records import Json
from tasks.batches.checking import InvalidLines

log = structlog.get_logger()

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
#: A method that is answered by the routes of another one (`api.heads`).
_AS: Final = {"HEAD": "GET"}

STATUS: Final[Mapping[str, HTTPStatus]] = {
    "invalid_request": HTTPStatus.BAD_REQUEST,
    "authentication_error": HTTPStatus.UNAUTHORIZED,
    "insufficient_balance": HTTPStatus.PAYMENT_REQUIRED,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "conflict": HTTPStatus.CONFLICT,
    "payload_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "range_not_satisfiable": HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    "idempotency_mismatch": HTTPStatus.UNPROCESSABLE_ENTITY,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "model_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "service_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}

#: Default Retry-After, in seconds.
RETRY_AFTER = {"rate_limited": 1.0, "service_unavailable": 5.0}


def unavailable(message: str, *, code: str, retry_after: float | None = None) -> RequestRefused:
    """Temporarily unavailable; the caller may retry."""
    return RequestRefused(message, type="service_unavailable", code=code, retry_after=retry_after)


class Renderer(Protocol):
    """How one part of the API shows its errors: status and body.

    Retry-After, X-RateLimit-…, WWW-Authenticate and headers of the error itself (Allow) are added
    to the response.
    """

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response: ...


@runtime_checkable
class Located(Protocol):
    """A renderer whose errors repeat the request's path."""

    def at(self, path: str) -> Renderer:
        """The renderer for a request to `path`."""
        ...


class Native:
    """The native shape: `{"error": {type, code, message, param, request_id}}`.

    Of invalid lines also `errors` and `error_count`.
    """

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:
        error: Json = {
            "type": refusal.type,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "request_id": request_id,
        }
        if isinstance(refusal, InvalidLines):
            error |= {"errors": refusal.errors, "error_count": refusal.error_count}
        return answer({"error": error}, status=STATUS[refusal.type])


class Renderers:
    """The renderer of every path: that of the longest prefix, or the native one."""

    def __init__(self, by_prefix: Iterable[tuple[str, Renderer]] = ()) -> None:
        """Raises ValueError for a prefix that is given twice, or is no path without a last `/`."""
        self._by_prefix: dict[str, Renderer] = {}
        for prefix, renderer in by_prefix:
            if not prefix.startswith("/") or prefix.endswith("/"):
                msg = f"a prefix must begin with / and not end with it (it is {prefix!r})"
                raise ValueError(msg)
            if prefix in self._by_prefix:
                msg = f"the prefix {prefix} is registered twice"
                raise ValueError(msg)
            self._by_prefix[prefix] = renderer
        self._longest_first = sorted(self._by_prefix, key=len, reverse=True)

    def of(self, path: str) -> Renderer:
        for prefix in self._longest_first:
            if path == prefix or path.startswith(f"{prefix}/"):
                renderer = self._by_prefix[prefix]
                return renderer.at(path) if isinstance(renderer, Located) else renderer
        return NATIVE


NATIVE: Final = Native()


def error_answer(
    refusal: RequestRefused, scope: Scope, *, headers: Mapping[str, str] | None = None
) -> Response:
    """The response for a refusal, in the shape of the API that the request's path belongs to."""
    renderers: Renderers = scope["app"].state.renderers
    rendered = _rendered(renderers.of(scope["path"]), refusal, scope)
    rendered.headers.update(headers or {})
    rendered.headers.update(limit_headers(refusal.allowance))
    wait = refusal.retry_after or RETRY_AFTER.get(refusal.type)
    if wait is not None:
        rendered.headers["Retry-After"] = str(max(1, round(wait)))
    if refusal.type == "authentication_error":
        rendered.headers["WWW-Authenticate"] = 'Bearer realm="longtake"'
    return rendered


def _rendered(renderer: Renderer, refusal: RequestRefused, scope: Scope) -> Response:
    """A renderer that fails must not hide the error: the native shape shows it."""
    request_id = scope.get("state", {}).get("request_id")
    try:
        return renderer.render(refusal, request_id=request_id)
    except Exception:
        log.exception("error.not_rendered", renderer=type(renderer).__name__)
        return NATIVE.render(refusal, request_id=request_id)


def install(app: FastAPI, renderers: Renderers) -> None:
    """Render every error by path; `edge` handles unexpected ones."""
    app.state.renderers = renderers
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(DatabaseAway, _database_away)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)  # noqa: S101 - registered for nothing else
    return error_answer(error, request.scope)


async def _database_away(request: Request, error: Exception) -> Response:
    log.error("database.away", reason=str(error))
    refusal = unavailable("the database is unavailable; try again", code="database_away")
    return error_answer(refusal, request.scope)


async def _http_exception(request: Request, error: Exception) -> Response:
    """The router's own errors: unknown route or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            kind, message = "not_found", f"no such route: {request.url.path[:200]}"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            kind, message = "method_not_allowed", f"{request.method} is not allowed on this route"
        case status if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            kind, message = "invalid_request", "the request is malformed"
        case _:
            raise error
    headers = dict(error.headers or {})
    if kind == "method_not_allowed":
        headers["Allow"] = _methods(request)
    refusal = RequestRefused(message, type=kind)
    return error_answer(refusal, request.scope, headers=headers)


def _methods(request: Request) -> str:
    """The methods of all routes of the path; the router itself names those of the first one."""
    allowed = [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": _AS.get(method, method)})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
    return ", ".join(allowed)


async def _validation(request: Request, error: Exception) -> Response:
    """A parameter rejected by the framework: 400, as for any invalid value."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    fault = error.errors()[0]
    param = str(fault["loc"][-1])
    return error_answer(RequestRefused(f"{param}: {fault['msg']}", param=param), request.scope)
