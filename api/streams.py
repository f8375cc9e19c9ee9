"""Open streams of server-sent events: how many there may be, their pings, and how they end.

Calls that stay open until a job is done have their places among them.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final, Protocol, TypeVar

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Send

from api.answers import encode
from api.errors import unavailable
from api.watching import A, S, Watch, Watcher
from models.failure import RequestRefused

#: Open streams of a process, if nobody says how many; one tenant alone can't take all of them.
MOST: Final = 500
MOST_OF_A_TENANT: Final = 250
#: Seconds until a client that found no place may ask again.
ASK_AGAIN: Final = 10.0
#: Seconds of silence until a ping: proxies cut what is silent for a minute.
PING_EVERY: Final = 15.0
#: Seconds until a stream ends and its client comes back: load moves to new processes.
LIVES: Final = 3600.0
#: Seconds in which a client must take a message; a stalled one holds a place.
TAKES_WITHIN: Final = 60.0

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that buffers would hold back the messages
}

S_contra = TypeVar("S_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)


class Teller(Protocol[A_co, S_contra]):
    """Makes the messages of one stream, and knows which of them its listener has got."""

    @property
    def asked(self) -> A_co:
        """What the next look asks for."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the last message was made."""
        ...

    def told(self, seen: S_contra) -> Sequence[bytes]:
        """The messages of a look, none for what was told before."""
        ...


def message(kind: str, data: Any, *, id: int | None = None) -> bytes:  # noqa: A002 - the field's name
    """One message; without an id a client keeps the last one."""
    text = encode(data).decode()
    return format_sse_event(event=kind, data_str=text, id=None if id is None else str(id))


def last_event_id(headers: Headers) -> int | None:
    """The header Last-Event-ID; raises RequestRefused if it is no id of ours."""
    match headers.getlist("Last-Event-ID"):
        case []:
            return None
        case [value] if value.isascii() and value.isdecimal() and len(value) <= _DIGITS:
            return int(value)
        case values:
            shown = ", ".join(values)[:64]
            msg = f"Last-Event-ID must be the id of an event, a whole number (it is {shown!r})"
            raise RequestRefused(msg, param="Last-Event-ID")


#: Digits of the largest id, which fits in 64 bits.
_DIGITS: Final = 18


class EventStream(EventSourceResponse):
    """A response of messages, as they come; it ends at once when its client hangs up."""

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        super().__init__(pieces, headers=_HEADERS)
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send(start | {"headers": self.raw_headers})
        async with aclosing(self._pieces):
            async for piece in self._pieces:
                try:
                    async with asyncio.timeout(TAKES_WITHIN):
                        await send(_body(piece, more=True))
                except TimeoutError:
                    raise ClientDisconnect from None
        await send(_body(b"", more=False))


def _body(piece: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": more}


class Streams:
    """The open streams and calls of one process."""

    def __init__(
        self,
        *,
        most: int = MOST,
        most_of_a_tenant: int = MOST_OF_A_TENANT,
        ping_every: float = PING_EVERY,
        lives: float = LIVES,
    ) -> None:
        self._most = most
        self._most_of_a_tenant = most_of_a_tenant
        self._ping_every = ping_every
        self._lives = lives
        self._tenants: Counter[str] = Counter()
        self._watches: set[Watch[Any, Any]] = set()
        self._is_closed = False

    @property
    def count(self) -> int:
        return self._tenants.total()

    @contextmanager
    def place(self, tenant: str) -> Iterator[None]:
        """A place for a stream or open call of a tenant; raises RequestRefused if there is none."""
        if self._is_closed:
            raise unavailable("this process was told to stop; connect again", code="draining")
        if self.count >= self._most:
            raise _full(f"this process has {self._most} open streams and calls, as many as it may")
        if self._tenants[tenant] >= self._most_of_a_tenant:
            most = self._most_of_a_tenant
            raise _full(f"the tenant has {most} open streams and calls, as many as it may")
        self._tenants[tenant] += 1
        try:
            yield
        finally:
            self._tenants[tenant] -= 1
            self._tenants += Counter()  # drop the tenants that have none

    def stream(
        self, watcher: Watcher[A, S], teller: Teller[A, S], *, first: Sequence[bytes]
    ) -> EventStream:
        """The response to one listener: `first`, then what the teller makes of each look."""
        return EventStream(self._pieces(watcher, teller, b"".join(first)))

    def close(self) -> None:
        """End all streams, and begin none: the process stops."""
        self._is_closed = True
        for watch in self._watches:
            watch.close()

    async def _pieces(
        self, watcher: Watcher[A, S], teller: Teller[A, S], first: bytes
    ) -> AsyncGenerator[bytes]:
        until = time.monotonic() + self._lives
        yield first
        with self._watching(watcher, teller.asked) as watch:
            while not teller.is_over and (left := until - time.monotonic()) > 0:
                seen = await watch.news(within=min(self._ping_every, left))
                if watch.is_closed:
                    return
                pieces = [KEEPALIVE_COMMENT] if seen is None else teller.told(seen)
                watch.asked = teller.asked
                if pieces:
                    yield b"".join(pieces)

    @contextmanager
    def _watching(self, watcher: Watcher[A, S], asked: A) -> Iterator[Watch[A, S]]:
        with watcher.watching(asked) as watch:
            self._watches.add(watch)
            if self._is_closed:
                watch.close()
            try:
                yield watch
            finally:
                self._watches.discard(watch)


def _full(message: str) -> RequestRefused:
    msg = f"{message}: close one, or poll instead"
    return RequestRefused(msg, type="rate_limited", code="too_many_streams", retry_after=ASK_AGAIN)
