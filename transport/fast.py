"""The fast client: polls, downloads, webhooks and images; guarded where users choose the URL."""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self, cast

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from transport.base import (
    Blocked,
    NotSent,
    Request,
    Response,
    Stream,
    TransportError,
    Unresolved,
)
from transport.body import Body
from transport.guard import Guard
from transport.loops import PerLoop
from transport.progress import SendProgress
from transport.resolver import NotResolved, Resolver
from transport.wire import Outgoing, prepare

#: aiohttp's errors for "not yet connected". ClientOSError, the parent of ClientConnectorError, is
#: not included: it also covers connections reset after the request was read.
_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


class FastClient:
    """A `Client` that favours speed; connects on first use."""

    def __init__(
        self,
        *,
        guard: Guard | None,
        connections: int = 256,
        resolver: AbstractResolver | None = None,
        name_servers: Sequence[str] = (),
    ) -> None:
        self._guard = guard
        self._name_servers = name_servers
        self._connections = connections
        self._resolver = resolver
        self._sessions = PerLoop(self._open)

    @classmethod
    def trusted(cls, *, connections: int = 256) -> Self:
        """For operator-configured URLs: keeps connections alive, reaches any network."""
        return cls(guard=None, connections=connections)

    @classmethod
    def guarded(
        cls,
        guard: Guard,
        *,
        connections: int = 256,
        resolver: AbstractResolver | None = None,
        name_servers: Sequence[str] = (),
    ) -> Self:
        """For user-supplied URLs; raises Blocked if `guard` does not permit the address.

        `name_servers` are asked for names; without them, those of the system.
        """
        return cls(
            guard=guard, connections=connections, resolver=resolver, name_servers=name_servers
        )

    async def send(self, request: Request) -> Response:
        """The complete response; raises NotSent, Blocked, Unanswered or BadAnswer."""
        outgoing = prepare(request)
        with SendProgress(request) as progress:
            answer = await self._head(outgoing, progress)
            try:
                return await _body(answer, progress).whole()
            finally:
                if not answer.closed:  # a fully read connection is already back in the pool
                    answer.close()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The response as a stream; raises as `send`."""
        outgoing = prepare(request)
        with SendProgress(request) as progress:
            answer = await self._head(outgoing, progress)
        try:
            yield _body(answer, progress)
        finally:
            answer.close()

    async def close(self) -> None:
        """Close the running loop's connections; a later request opens new ones."""
        if session := self._sessions.forget():
            names = cast(_Connector, session.connector).names
            await session.close()
            await names.close()

    async def _head(self, outgoing: Outgoing, progress: SendProgress) -> aiohttp.ClientResponse:
        answer = await self._sessions.here().request(
            outgoing.method,
            # Requoting would break signed URLs. A "?" without a query is lost.
            yarl.URL(outgoing.url, encoded=True),
            headers=outgoing.headers,
            data=outgoing.content,
            allow_redirects=False,
            # aiohttp guesses content types except for GET, where skipping this saves a copy of
            # headers.
            skip_auto_headers=None if outgoing.method == "GET" else ("Content-Type",),
            middlewares=(_translating_errors(progress),),
        )
        progress.mark_responded()
        return answer

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=None
            ),  # SendProgress enforces timeouts
            trust_env=False,
            request_class=_Request,
        )

    def _connector(self) -> aiohttp.TCPConnector:
        names = self._resolver or Resolver(servers=self._name_servers)
        if self._guard is None:
            return _Connector(limit=self._connections, resolver=names)
        return _Connector(
            limit=self._connections,
            socket_factory=_sockets_within(self._guard),
            resolver=names,
            # The address is checked at each connection, wherever it comes from; a kept connection
            # would bypass the check.
            use_dns_cache=False,
            force_close=True,
        )


class _Request(aiohttp.ClientRequest):
    """aiohttp's request with its SendProgress attached.

    Tracing could carry it at a sixth of a poll's cost; a context variable would create a reference
    cycle with the task.
    """

    progress: SendProgress


class _Connector(aiohttp.TCPConnector):
    """Marks the request sent as soon as its connection is established."""

    @property
    def names(self) -> AbstractResolver:
        """Its resolver, which aiohttp leaves open."""
        return self._resolver

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            cast(_Request, req).progress.mark_sent()
        except BaseException:
            connection.close()
            raise
        return connection


class _NotPublic(OSError):
    """Raised in place of a socket error and recovered as the cause of aiohttp's error."""


def _sockets_within(guard: Guard) -> aiohttp.SocketFactoryType:
    """Creates the socket for the resolved address, so DNS cannot change after the check."""

    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not guard.permits(str(address[0])):
            # One text for all, since aiohttp preserves the error type only if the messages are
            # equal; the address is omitted so that users cannot map our network.
            msg = "the address is not public"
            raise _NotPublic(msg)
        return socket.socket(family, kind, protocol)

    return make


def _translating_errors(progress: SendProgress) -> aiohttp.ClientMiddlewareType:
    """Translates errors inside aiohttp, which would otherwise retry a GET."""

    async def translate(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        cast(_Request, request).progress = progress
        try:
            return await handler(request)
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, progress) from None  # its text may contain the URL

    return translate


def _translated(error: Exception, progress: SendProgress) -> TransportError:
    if isinstance(error, aiohttp.ClientConnectorError):
        failure = progress.failed(str(error.os_error), connecting=True)
        if not isinstance(failure, NotSent):
            return failure
        match error.os_error:
            case _NotPublic():
                return Blocked(*failure.args)
            case NotResolved():
                return Unresolved(*failure.args)
            case _:
                return failure
    if isinstance(error, aiohttp.ClientResponseError):
        return progress.bad_answer("malformed HTTP response")
    return progress.failed(type(error).__name__, connecting=isinstance(error, _CONNECTING))


def _body(answer: aiohttp.ClientResponse, progress: SendProgress) -> Body:
    return Body(
        answer.content.iter_any(),
        status=answer.status,
        headers=_headers(answer),
        progress=progress,
        library_errors=(aiohttp.ClientError, OSError),
    )


def _headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Lower-case names; repeated headers joined; non-UTF-8 bytes (surrogates) read as Latin-1."""
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        text = (
            value if value.isascii() else value.encode(errors="surrogateescape").decode("latin-1")
        )
        key = name.lower()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
