"""The exact client: submit, cancel and look-up, where the truth about a failure is worth money.

It is httpx's transport without httpx's client. That leaves nothing to switch off: no redirects,
cookies, proxies or netrc from the environment, and no log line with the whole address in it.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from transport.base import NotSent, Request, Response, Stream, TransportError
from transport.body import Body
from transport.departure import Departure
from transport.loops import PerLoop
from transport.redact import safe_url
from transport.wire import Outgoing, prepare

#: httpx's words for "still connecting"; true of its own transport only. Faster ones that can stand
#: in for it call a connection dropped after the POST a connect error (seen in httpx-aiohttp 0.2).
_CONNECTING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ExactClient:
    """A `Client` that is slow and sure; it opens nothing before its first request."""

    def __init__(self, *, connections: int = 100) -> None:
        self._connections = connections
        self._transports = PerLoop(self._open)

    async def send(self, request: Request) -> Response:
        """The whole answer; raises NotSent, Unanswered or BadAnswer."""
        outgoing, transport = prepare(request), self._transports.here()
        with Departure(request) as departure:
            answer = await _head(transport, _message(outgoing, departure), departure)
            try:
                return await _body(answer, departure).whole()
            finally:
                await answer.aclose()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The answer as it comes; raises as `send`."""
        outgoing, transport = prepare(request), self._transports.here()
        with Departure(request) as departure:
            answer = await _head(transport, _message(outgoing, departure), departure)
        try:
            yield _body(answer, departure)
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """Drop the running loop's connections; a later request opens new ones."""
        if transport := self._transports.forget():
            await transport.aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        """A transport that gives each request a connection of its own.

        A kept one may just have been closed by the far side, and the POST that finds out can't tell
        whether it was read: a handshake of some 100 ms is cheaper than one attempt in doubt.
        """
        return httpx.AsyncHTTPTransport(
            verify=ssl.create_default_context(),  # the system's roots, as the fast client
            limits=httpx.Limits(max_connections=self._connections, max_keepalive_connections=0),
            trust_env=False,
        )


async def _head(
    transport: httpx.AsyncHTTPTransport, message: httpx.Request, departure: Departure
) -> httpx.Response:
    try:
        answer = await transport.handle_async_request(message)
    except httpx.TransportError as error:
        raise _truth(error, departure) from None  # its text may hold the address
    departure.arrive()
    return answer


def _message(outgoing: Outgoing, departure: Departure) -> httpx.Request:
    async def watch(event: str, _info: object) -> None:
        # httpcore tells of "connection.connect_tcp" and "connection.start_tls" until the connection
        # stands; a name that nobody knows yet counts as bytes on their way.
        if not event.startswith("connection."):
            departure.leave()

    # The clock is ours, but httpcore 1.0 leaks a socket that is cancelled during its handshake: so
    # connecting and shaking hands, half of the time each, end before our clock does.
    half = departure.request.connect_timeout / 2
    try:
        return httpx.Request(
            outgoing.method,
            outgoing.url,
            headers=outgoing.headers,
            content=outgoing.content,
            extensions={
                "trace": watch,
                "target": outgoing.target.encode(),
                "timeout": {"connect": half},
            },
        )
    except httpx.InvalidURL as error:
        msg = f"{safe_url(outgoing.url)}: {error}"
        raise NotSent(msg) from None


def _body(answer: httpx.Response, departure: Departure) -> Body:
    return Body(
        answer.aiter_bytes(),
        status=answer.status_code,
        headers=dict(answer.headers.items()),
        departure=departure,
        foreign=(httpx.RequestError,),
    )


def _truth(error: httpx.TransportError, departure: Departure) -> TransportError:
    if isinstance(error, _CONNECTING):
        return departure.failed(str(error) or type(error).__name__, connecting=True)
    if isinstance(error, httpx.RemoteProtocolError) and _found_bytes_that_are_not_http(error):
        return departure.spoiled("the answer is not HTTP")
    return departure.failed(type(error).__name__, connecting=False)


def _found_bytes_that_are_not_http(error: httpx.RemoteProtocolError) -> bool:
    # httpcore's error then comes from the parser's (h11); a mere disconnect comes from nothing.
    return error.__cause__ is not None and error.__cause__.__context__ is not None
