"""The exact client: submit, cancel and look-up, where misjudging a failure can cost money.

It uses httpx's transport without httpx's client, so there are no redirects, cookies, environment
proxies or netrc to disable, and no log line containing the full URL.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from transport.base import NotSent, Request, Response, Stream, TransportError
from transport.body import Body
from transport.loops import PerLoop
from transport.progress import SendProgress
from transport.redact import safe_url
from transport.wire import Outgoing, prepare

#: httpx's errors for "still connecting"; reliable for its own transport only. Faster drop-in
#: transports report a connection dropped after the POST as a connect error (seen in httpx-aiohttp
#: 0.2).
_CONNECTING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ExactClient:
    """A `Client` that favours certainty over speed; connects on first use."""

    def __init__(self, *, connections: int = 100) -> None:
        self._connections = connections
        self._transports = PerLoop(self._open)

    async def send(self, request: Request) -> Response:
        """The complete response; raises NotSent, Unanswered or BadAnswer."""
        outgoing, transport = prepare(request), self._transports.here()
        with SendProgress(request) as progress:
            answer = await _head(transport, _message(outgoing, progress), progress)
            try:
                return await _body(answer, progress).whole()
            finally:
                await answer.aclose()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """The response as a stream; raises as `send`."""
        outgoing, transport = prepare(request), self._transports.here()
        with SendProgress(request) as progress:
            answer = await _head(transport, _message(outgoing, progress), progress)
        try:
            yield _body(answer, progress)
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """Close the running loop's connections; a later request opens new ones."""
        if transport := self._transports.forget():
            await transport.aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        """A transport that opens a new connection for each request.

        The server may just have closed a kept-alive connection, and a POST that fails on it may or
        may not have been read: a handshake of some 100 ms is cheaper than one attempt in doubt.
        """
        return httpx.AsyncHTTPTransport(
            verify=ssl.create_default_context(),  # system CA store, as in the fast client
            limits=httpx.Limits(max_connections=self._connections, max_keepalive_connections=0),
            trust_env=False,
        )


async def _head(
    transport: httpx.AsyncHTTPTransport, message: httpx.Request, progress: SendProgress
) -> httpx.Response:
    try:
        answer = await transport.handle_async_request(message)
    except httpx.TransportError as error:
        raise _translated(error, progress) from None  # its text may contain the URL
    progress.mark_responded()
    return answer


def _message(outgoing: Outgoing, progress: SendProgress) -> httpx.Request:
    async def on_trace(event: str, _info: object) -> None:
        # httpcore reports "connection.connect_tcp" and "connection.start_tls" until the connection
        # is established; any unrecognised event counts as bytes sent.
        if not event.startswith("connection."):
            progress.mark_sent()

    # The timeout is ours, but httpcore 1.0 leaks a socket when cancelled during its handshake, so
    # connecting and the TLS handshake each get half of it and end first.
    half = progress.request.connect_timeout / 2
    try:
        return httpx.Request(
            outgoing.method,
            outgoing.url,
            headers=outgoing.headers,
            content=outgoing.content,
            extensions={
                "trace": on_trace,
                "target": outgoing.target.encode(),
                "timeout": {"connect": half},
            },
        )
    except httpx.InvalidURL as error:
        msg = f"{safe_url(outgoing.url)}: {error}"
        raise NotSent(msg) from None


def _body(answer: httpx.Response, progress: SendProgress) -> Body:
    return Body(
        answer.aiter_bytes(),
        status=answer.status_code,
        headers=dict(answer.headers.items()),
        progress=progress,
        library_errors=(httpx.RequestError,),
    )


def _translated(error: httpx.TransportError, progress: SendProgress) -> TransportError:
    if isinstance(error, _CONNECTING):
        return progress.failed(str(error) or type(error).__name__, connecting=True)
    if isinstance(error, httpx.RemoteProtocolError) and _is_malformed_http(error):
        return progress.bad_answer("malformed HTTP response")
    return progress.failed(type(error).__name__, connecting=False)


def _is_malformed_http(error: httpx.RemoteProtocolError) -> bool:
    # With malformed bytes, httpcore's error has h11's as its cause; a plain disconnect has no
    # cause.
    return error.__cause__ is not None and error.__cause__.__context__ is not None
