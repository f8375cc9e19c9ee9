"""Who submits: the request's headers that intake uses, and how long its answer took."""

import time
from typing import Any

from starlette.datastructures import Headers

from api.native.listing import checked_text
from models.failure import RequestRefused
from tasks.repeats import Caller, canonical_hash


def caller_of(headers: Headers, body: Any, *, api_key: str, app_id: str | None = None) -> Caller:
    """The caller; `app_id` is what the body names, and the header X-App-ID goes before it.

    Raises:
        RequestRefused: a header is given twice, is empty or too long.
    """
    key = _only(headers, "Idempotency-Key")
    return Caller(
        app_id=_only(headers, "X-App-ID") or app_id,
        api_key=api_key,
        idempotency_key=key,
        body_hash=canonical_hash(body) if key else b"",
    )


def _only(headers: Headers, name: str) -> str | None:
    match headers.getlist(name):
        case []:
            return None
        case [value]:
            return checked_text(name, value)
        case _:
            raise RequestRefused(f"{name} is given more than once", param=name)


def milliseconds_since(began: float) -> int:
    """Whole milliseconds since a `time.perf_counter()`, at least 1."""
    return max(1, round((time.perf_counter() - began) * 1000))
