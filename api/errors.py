"""Errors in one shape, whatever went wrong: type, code, message, param and request_id."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from api.answers import answer
from models.database import DatabaseAway
from models.failure import RequestRefused

log = structlog.get_logger()

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

#: Seconds after which a caller may ask again when nobody knows better.
RETRY_AFTER = {"rate_limited": 1.0, "service_unavailable": 5.0}


def not_found(what: str = "Video generation job") -> RequestRefused:
    """It does not exist, or belongs to somebody else: a caller can't tell which."""
    return RequestRefused(f"{what} not found", type="not_found")


def unavailable(message: str, *, code: str, retry_after: float | None = None) -> RequestRefused:
    """We can't answer for the moment; later is fine."""
    return RequestRefused(message, type="service_unavailable", code=code, retry_after=retry_after)


def error_answer(
    refusal: RequestRefused, scope: Scope, *, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that tells of a refusal."""
    told = dict(headers or {})
    wait = refusal.retry_after or RETRY_AFTER.get(refusal.type)
    if wait is not None:
        told["Retry-After"] = str(max(1, round(wait)))
    if refusal.type == "authentication_error":
        told["WWW-Authenticate"] = 'Bearer realm="longtake"'
    error = {
        "type": refusal.type,
        "code": refusal.code,
        "message": refusal.message,
        "param": refusal.param,
        "request_id": scope.get("state", {}).get("request_id"),
    }
    return answer({"error": error}, status=STATUS[refusal.type], headers=told)


def install(app: FastAPI) -> None:
    """Make every error of the application speak in our shape; what is unexpected is `edge`'s."""
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(DatabaseAway, _database_away)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)  # noqa: S101 - registered for nothing else
    return error_answer(error, request.scope)


async def _database_away(request: Request, error: Exception) -> Response:
    log.error("database.away", reason=str(error))
    refusal = unavailable("the database can't be reached; try again", code="database_away")
    return error_answer(refusal, request.scope)


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the router itself answers: no such route, or not with this method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            kind, message = "not_found", f"no such address: {request.url.path[:200]}"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            kind, message = "method_not_allowed", f"{request.method} is not offered here"
        case status if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            kind, message = "invalid_request", "the request can't be read"
        case _:
            raise error
    refusal = RequestRefused(message, type=kind)
    return error_answer(refusal, request.scope, headers=error.headers)


async def _validation(request: Request, error: Exception) -> Response:
    """A parameter that the framework itself refused: 400, as every wrong value."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    fault = error.errors()[0]
    param = str(fault["loc"][-1])
    return error_answer(RequestRefused(f"{param}: {fault['msg']}", param=param), request.scope)
