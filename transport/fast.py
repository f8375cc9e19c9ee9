"""The fast client: polls, downloads, webhooks, pictures; guarded where a user can aim it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self, cast

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from transport.base import Blocked, NotSent, Request, Response, Stream, TransportError
from transport.body import Body
from transport.departure import Departure
from transport.guard import Guard
from transport.loops import PerLoop
from transport.names import Names
from transport.wire import Outgoing, prepare

#: aiohttp's words for "not even connected". ClientConnectorError's parent ClientOSError also tells
#: of a connection that was reset after the request was read, so it is not among them.
_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


class FastClient:
    """A `Client` that is quick; it opens nothing before its first request."""

    def __init__(
        self,
        *,
        guard: Guard | None,
        connections: int = 256,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guard = guard
        self._connections = connections
        self._resolver = resolver
        self._sessions = PerLoop(self._open)

    @classmethod
    def trusted(cls, *, connections: int = 256) -> Self:
        """For addresses that the operator configured: keeps connections, reaches any network."""
        return cls(guard=None, connections=connections)

    @classmethod
    def guarded(
        cls, guard: Guard, *, connections: int = 256, resolver: AbstractResolver | None = None
    ) -> Self:
        """For whatever a user can aim; raises Blocked where `guard` does not permit the address."""
        return cls(guard=guard, connections=connections, resolver=resolver)

    async def send(self, request: Request) -> Response:
        """The whole answer; raises NotSent, Blocked, Unanswered or BadAnswer."""
        outgoing = prepare(request)
        with Departure(request) as departure:
            answer = await self._head(outgoing, departure)
            try:
                return await _body(answer, departure).whole()
            finally:
                if not answer.closed:  # once all is read, the connection is back in the pool
                    answer.close()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The answer as it comes; raises as `send`."""
        outgoing = prepare(request)
        with Departure(request) as departure:
            answer = await self._head(outgoing, departure)
        try:
            yield _body(answer, departure)
        finally:
            answer.close()

    async def close(self) -> None:
        """Drop the running loop's connections; a later request opens new ones."""
        if session := self._sessions.forget():
            await session.close()

    async def _head(self, outgoing: Outgoing, departure: Departure) -> aiohttp.ClientResponse:
        answer = await self._sessions.here().request(
            outgoing.method,
            # Quoting anew would break signed addresses; so only a "?" without a query gets lost.
            yarl.URL(outgoing.url, encoded=True),
            headers=outgoing.headers,
            data=outgoing.content,
            allow_redirects=False,
            # aiohttp guesses types, but none for a GET: leaving it alone saves a copy of headers.
            skip_auto_headers=None if outgoing.method == "GET" else ("Content-Type",),
            middlewares=(_once(departure),),
        )
        departure.arrive()
        return answer

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # ours is the clock
            trust_env=False,
            request_class=_Request,
        )

    def _connector(self) -> aiohttp.TCPConnector:
        if self._guard is None:
            return _Connector(limit=self._connections)
        return _Connector(
            limit=self._connections,
            socket_factory=_sockets_within(self._guard),
            resolver=self._resolver or Names(),
            # A kept connection or a remembered name would be a check of yesterday.
            use_dns_cache=False,
            force_close=True,
        )


class _Request(aiohttp.ClientRequest):
    """aiohttp's request, with the exchange that it belongs to.

    Tracing would carry it too, and cost a sixth of a poll; a context variable would tie it to its
    task in a circle, which only the collector unties.
    """

    departure: Departure


class _Connector(aiohttp.TCPConnector):
    """Tells the exchange, as soon as its connection stands, that bytes may go out."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own word
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        cast(_Request, req).departure.leave()
        return connection


class _NotPublic(OSError):
    """Raised where aiohttp expects a failing socket, and found again as the cause of its error."""


def _sockets_within(guard: Guard) -> aiohttp.SocketFactoryType:
    """Makes the socket for the very address that is connected to next: no name can change after."""

    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not guard.permits(str(address[0])):
            # One text for all, since aiohttp keeps the type only of failures that read alike; and
            # the address is not told, for it would let users map our network.
            msg = "the address is not public"
            raise _NotPublic(msg)
        return socket.socket(family, kind, protocol)

    return make


def _once(departure: Departure) -> aiohttp.ClientMiddlewareType:
    """Tells the truth from inside aiohttp, which repeats a GET after an error of its own."""

    async def tell(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        cast(_Request, request).departure = departure
        try:
            return await handler(request)
        except (aiohttp.ClientError, OSError) as error:
            raise _truth(error, departure) from None  # its text may hold the address

    return tell


def _truth(error: Exception, departure: Departure) -> TransportError:
    if isinstance(error, aiohttp.ClientConnectorError):
        blocked = isinstance(error.os_error, _NotPublic)
        failure = departure.failed(str(error.os_error), connecting=True)
        return Blocked(*failure.args) if blocked and isinstance(failure, NotSent) else failure
    if isinstance(error, aiohttp.ClientResponseError):
        return departure.spoiled("the answer is not HTTP")
    return departure.failed(type(error).__name__, connecting=isinstance(error, _CONNECTING))


def _body(answer: aiohttp.ClientResponse, departure: Departure) -> Body:
    return Body(
        answer.content.iter_any(),
        status=answer.status,
        headers=_headers(answer),
        departure=departure,
        foreign=(aiohttp.ClientError, OSError),
    )


def _headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Names in lower case, repeated ones joined, surrogates (bytes that aren't UTF-8) replaced."""
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        text = (
            value if value.isascii() else value.encode(errors="surrogateescape").decode("latin-1")
        )
        key = name.lower()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
