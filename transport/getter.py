"""The getter: a lean client for polls, which are GETs that may be repeated.

It reaches what an operator configured, so no guard looks on, and nothing that it sends is paid for,
so it keeps no record of how far a request got. All else is as with the other clients: no redirects,
cookies or proxies, nothing packed asked for, the same trust store and resolver, the same limits.
"""

import asyncio
import re
import ssl
from collections.abc import Sequence
from functools import cached_property
from urllib.parse import urlsplit

from transport.base import Request, Response, Sender
from transport.connection import Connection, Stale
from transport.loops import PerLoop
from transport.pool import Origin, Pool
from transport.resolver import Resolver
from transport.wire import Outgoing, prepare

#: Connections to one origin, and to all.
EACH, MOST = 128, 256
#: Checked addresses and sets of headers that are remembered.
_REMEMBERED = 256
#: As in `transport.wire`, for what follows an origin that was checked before.
_TARGET = re.compile(r"/[!\"$-~]*")
#: The first character at which an origin may end.
_SCHEME = len("https://")
_PORTS = {"http": 80, "https": 443}

#: Header fields as they are asked for.
_Given = tuple[tuple[str, str], ...]


class Getter:
    """A `Sender` of GETs; whatever else it is given, `otherwise` sends."""

    def __init__(
        self,
        *,
        otherwise: Sender | None = None,
        each: int = EACH,
        most: int = MOST,
        name_servers: Sequence[str] = (),
    ) -> None:
        self._otherwise = otherwise
        self._each, self._most = each, most
        self._name_servers = name_servers
        self._pools = PerLoop(self._open)
        self._origins: dict[str, Origin] = {}
        self._heads: dict[tuple[str, _Given], bytes] = {}

    async def send(self, request: Request) -> Response:
        """The complete response; raises NotSent, Unanswered or BadAnswer.

        A request on a kept connection that the server has ended meanwhile is sent once more.
        """
        if request.method != "GET" or request.content or request.form or request.begin_by:
            return await self._send_otherwise(request)
        origin, message = self._message(request)
        pool = self._pools.here()
        connection = pool.idle(origin) or await pool.connection(origin, request, fresh=False)
        outcome = connection.send(message, request, seconds=request.timeout)
        try:
            return await outcome
        except Stale:
            left = connection.until - asyncio.get_running_loop().time()
        except asyncio.CancelledError:
            _abandon(connection, outcome)
            raise
        connection = await pool.connection(origin, request, fresh=True)
        outcome = connection.send(message, request, seconds=left)
        try:
            return await outcome
        except asyncio.CancelledError:
            _abandon(connection, outcome)
            raise

    async def close(self) -> None:
        """Close the running loop's connections; a later request opens new ones."""
        if pool := self._pools.forget():
            await pool.close()
        if self._otherwise is not None:
            await self._otherwise.close()

    async def _send_otherwise(self, request: Request) -> Response:
        if self._otherwise is None:
            msg = f"a getter sends GETs alone, not {request.method} with a body or a deadline"
            raise ValueError(msg)
        return await self._otherwise.send(request)

    def _message(self, request: Request) -> tuple[Origin, bytes]:
        """Where it goes, and its bytes; what was checked before is not checked again."""
        url = request.url
        ends = url.find("/", _SCHEME)
        base, target = url[:ends], url[ends:]
        given = tuple(request.headers.items())
        head = self._heads.get((base, given))
        if head is None or not _TARGET.fullmatch(target):
            return self._checked(request, given)
        return self._origins[base], b"GET " + target.encode() + head

    def _checked(self, request: Request, given: _Given) -> tuple[Origin, bytes]:
        outgoing = prepare(request)
        parts = urlsplit(outgoing.url)
        origin = Origin(
            is_secure=parts.scheme == "https",
            host=(parts.hostname or "").replace("%25", "%"),  # before an IPv6 zone
            port=parts.port or _PORTS[parts.scheme],
        )
        head = _head(outgoing, parts.netloc)
        base = f"{parts.scheme}://{parts.netloc}"
        if len(self._heads) >= _REMEMBERED:
            self._heads.clear()
            self._origins.clear()
        self._origins[base] = origin
        self._heads[base, given] = head
        return origin, b"GET " + outgoing.target.encode() + head

    def _open(self) -> Pool:
        return Pool(
            names=Resolver(servers=self._name_servers),
            tls=lambda: self._tls,
            each=self._each,
            most=self._most,
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The system's trust store, as in the other clients; read before the first handshake."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context


def _head(outgoing: Outgoing, authority: str) -> bytes:
    """What follows the target in a request."""
    fields = {"host": authority} | outgoing.headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f" HTTP/1.1\r\n{lines}\r\n".encode()


def _abandon(connection: Connection, outcome: "asyncio.Future[Response]") -> None:
    """No caller waits any more: close the connection, unless it has its answer and is reusable."""
    if outcome.cancelled():
        connection.abandon()
