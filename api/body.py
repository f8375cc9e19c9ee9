"""Request bodies: size-limited while received, and strictly parsed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_answer
from api.front import front_of
from api.large_bodies import LARGE, is_large, leave
from models.failure import RequestRefused
from models.keys import Key
from models.strict_json import parse_json
from tasks.repeats import hashed

T = TypeVar("T")
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

#: Maximum size of a body with pictures, in bytes; of others it is LARGE.
MAX_BODY: Final = 25 * 2**20
#: Timeouts for receiving a body, and for the next bytes of one that is large, in seconds.
ARRIVES_WITHIN = 120.0
NEXT_WITHIN = 30.0
#: How long to discard the rest of a refused body, in seconds: without this, a client that is still
#: sending would see a connection reset instead of our response.
LINGER = 2.0
#: Bodies that are discarded at a time: two hundred would take the loop's time from other requests.
_MOST_DISCARDED: Final = 4
_KILO: Final = 2**10
#: Statuses after which the rest of a large body is not received: invalid keys and addresses.
_AT_ONCE: Final = frozenset({401, 404, 429})


def takes_up_to(size: float) -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint takes bodies of more than LARGE bytes, and how many it takes."""

    def declared(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["takes_up_to"] = size
        return endpoint

    return declared


class _TooLarge(Exception):
    """More bytes were received than the route takes."""


class CappedBody:
    """ASGI middleware: returns 413 for a body over its route's limit, whatever headers claim."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._discarding = asyncio.Semaphore(_MOST_DISCARDED)
        self._larger = [
            (route.methods or (), route.path_regex, size)
            for route in iter_route_contexts(routes)
            if (size := getattr(route.endpoint, "takes_up_to", LARGE)) > LARGE
        ]

    def _most(self, scope: Scope) -> float:
        larger = (
            size
            for methods, path, size in self._larger
            if scope["method"] in methods and path.match(scope["path"])
        )
        return next(larger, LARGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self._most(scope)
        told = content_length(scope)
        if told > most:
            await self._refuse(scope, receive, send, most, unread=True)
            return
        count, unread, at_once = 0, True, False

        async def counted() -> Message:
            nonlocal count, unread
            message = await receive()
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                unread = message.get("more_body", False)
                if count > most:
                    raise _TooLarge
            return message

        async def lingering(message: Message) -> None:
            """End a response that comes before the end of a large body as `_refuse` does."""
            nonlocal at_once
            is_large = unread and max(told, count) > LARGE
            if message["type"] == "http.response.start" and is_large:
                at_once = message["status"] in _AT_ONCE
                closes = [(b"connection", b"close")] if at_once else []
                message = {**message, "headers": [*message["headers"], *closes]}
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and is_large and not at_once:
                await send({**message, "more_body": True})
                await self._discard(receive)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        try:
            await self.app(scope, counted, lingering)
        except _TooLarge:
            await self._refuse(scope, receive, send, most, unread=unread)
        finally:
            await leave(scope)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, most: float, *, unread: bool
    ) -> None:
        refusal = RequestRefused(
            f"the request body exceeds the maximum of {_in_units(most)} of this route",
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
            await self._discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard(self, receive: Receive) -> None:
        with suppress(TimeoutError):  # the connection is closed either way
            async with asyncio.timeout(LINGER), self._discarding:
                while (await receive()).get("more_body", False):
                    pass


def _in_units(size: float) -> str:
    return f"{size // _KILO} kB" if size < _KILO**2 else f"{size // _KILO**2} MB"


async def read_json(request: Request) -> Any:
    """The body as JSON values.

    Raises:
        RequestRefused: the body timed out, or is not JSON that we can store.
    """
    return await off_loop(request, parse_json, await read_body(request))


async def read_body(request: Request) -> bytes:
    """The body's bytes; of one that is large, once there is a place for it.

    Raises:
        RequestRefused: it timed out, or too many others are here.
    """
    try:
        async with asyncio.timeout(ARRIVES_WITHIN):
            return await _received(request)
    except TimeoutError:
        msg = f"the request body did not arrive within {ARRIVES_WITHIN:.0f} s"
        raise RequestRefused(msg, code="body_timeout") from None


async def discard_body(request: Request) -> None:
    """Read the body to its end, or for as long as `read_body` would, and keep none of it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ARRIVES_WITHIN):
            async for _ in request.stream():
                pass


async def off_loop(request: Request, work: Callable[..., T], *arguments: Any) -> T:
    """The result of work on the request's body: of a large one, in a thread."""
    if is_large(request):
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)


async def compared(request: Request, body: Any) -> Any:
    """What stands for the request's body where it is compared: of a large one, its hash."""
    return await asyncio.to_thread(hashed, body) if is_large(request) else body


async def _received(request: Request) -> bytes:
    pieces, size = list[bytes](), 0
    if content_length(request.scope) > LARGE:
        await _enter(request)
    stream = aiter(request.stream())
    while True:
        async with asyncio.timeout(NEXT_WITHIN if is_large(request) else None):
            piece = await anext(stream, None)
        if piece is None:
            break
        pieces.append(piece)
        size += len(piece)
        if size > LARGE and not is_large(request):  # its length was not told
            await _enter(request)
    if is_large(request):
        await front_of(request).large_bodies.begin_work(request, tenant=_tenant(request))
    return b"".join(pieces)


async def _enter(request: Request) -> None:
    await front_of(request).large_bodies.enter(request, tenant=_tenant(request))


def _tenant(request: Request) -> str:
    """The key's tenant; callbacks, which have no key, count as one."""
    key: Key | None = getattr(request.state, "key", None)
    return key.tenant if key else ""


def content_length(scope: Scope) -> int:
    """What the request's header says; 0 without one."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
