"""Request bodies: size-limited while received, and strictly parsed."""

import asyncio
import json
from contextlib import suppress
from math import isfinite
from typing import Any, Final, NoReturn

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_answer
from models.failure import RequestRefused

#: Maximum size of a request body, in bytes.
MAX_BODY: Final = 25 * 2**20
#: Timeout for receiving a body, in seconds.
ARRIVES_WITHIN = 120.0
#: How long to discard the rest of a refused body, in seconds: without this, a client that is still
#: sending would see a connection reset instead of our response.
LINGER = 2.0
#: Maximum nesting of arrays and objects.
MAX_DEPTH = 64


class _TooLarge(Exception):
    """More than MAX_BODY bytes were received."""


class CappedBody:
    """ASGI middleware: returns 413 for a body over the limit, whatever its headers claim."""

    def __init__(self, app: ASGIApp, most: int = MAX_BODY) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _content_length(scope) > self.most:
            await self._refuse(scope, receive, send, unread=True)
            return
        count, unread = 0, True

        async def counted() -> Message:
            nonlocal count, unread
            message = await receive()
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                unread = message.get("more_body", False)
                if count > self.most:
                    raise _TooLarge
            return message

        try:
            await self.app(scope, counted, send)
        except _TooLarge:
            await self._refuse(scope, receive, send, unread=unread)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, *, unread: bool) -> None:
        refusal = RequestRefused(
            f"the request body exceeds the maximum of {self.most // 2**20} MB",
            type="payload_too_large",
        )
        answer = error_answer(refusal, scope, headers={"Connection": "close"})
        start = {
            "type": "http.response.start",
            "status": answer.status_code,
            "headers": answer.raw_headers,
        }
        await send(start)
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        if unread:
            await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    with suppress(TimeoutError):  # the connection is closed either way
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body", False):
                pass


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def read_json(request: Request) -> Any:
    """The body as JSON values.

    Raises:
        RequestRefused: the body timed out, or is not JSON that we can store.
    """
    return parse_json(await read_body(request))


async def read_body(request: Request) -> bytes:
    """The body's bytes; raises RequestRefused on timeout."""
    try:
        async with asyncio.timeout(ARRIVES_WITHIN):
            return await request.body()
    except TimeoutError:
        msg = f"the request body did not arrive within {ARRIVES_WITHIN:.0f} s"
        raise RequestRefused(msg, code="body_timeout") from None


def parse_json(content: bytes) -> Any:
    """Strict JSON: UTF-8, no duplicate keys, no NaN, no NUL, nesting up to MAX_DEPTH.

    Raises:
        RequestRefused: invalid; the message gives the position if known.
    """
    if not content.strip():
        _refuse("is required: send a JSON object")
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        _refuse(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    except UnicodeDecodeError as error:
        _refuse(f"is not UTF-8: invalid byte at position {error.start}")
    except RecursionError:
        _refuse(_TOO_DEEP)
    except ValueError:  # an integer with thousands of digits
        _refuse("has a number with too many digits")
    if b"\\u" in content or content.count(b"[") + content.count(b"{") > MAX_DEPTH:
        _check_values(value)
    return value


_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def _check_values(value: Any) -> None:
    """Refuse escaped characters and nesting that the parser accepts but PostgreSQL does not."""
    waiting = [(value, 1)]
    while waiting:
        current, depth = waiting.pop()
        match current:
            case str():
                _check_text(current)
            case dict() | list():
                if depth > MAX_DEPTH:
                    _refuse(_TOO_DEEP)
                waiting.extend((child, depth + 1) for child in _children(current))
            case _:
                pass


def _children(container: dict[str, Any] | list[Any]) -> list[Any]:
    if isinstance(container, list):
        return container
    return [*container.keys(), *container.values()]


def _check_text(text: str) -> None:
    if "\x00" in text:
        _refuse("must not contain the NUL character (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse("has an unpaired surrogate (\\ud800 to \\udfff)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                _refuse(f"has the key {name[:64]!r} twice")
            seen.add(name)
    return made


def _no_constant(name: str) -> NoReturn:
    _refuse(f"has {name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse(f"has a number out of range: {text[:64]}")
    return number


def _refuse(what: str) -> NoReturn:
    msg = f"the request body {what}"
    raise RequestRefused(msg, code="invalid_json")
