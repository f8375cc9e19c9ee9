"""The getter's connections on one loop: kept, limited, and timed by one timer."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple, cast

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from transport.base import NotSent, Request, TransportError, Unresolved
from transport.connection import Connection
from transport.progress import describe
from transport.resolver import NotResolved

#: Seconds between two looks at what is overdue: a time-out may be late by as much.
SWEEP = 0.1
#: Seconds after which the next address of a name is tried beside the first (RFC 8305, section 8).
_NEXT_ADDRESS = 0.25
#: Seconds in which a connection that is given up says goodbye.
_GOODBYE = 1.0


class Origin(NamedTuple):
    """The destination of requests; a tuple because every request uses it as a key."""

    is_secure: bool
    host: str
    port: int


@dataclass(slots=True, eq=False)
class _Host:
    origin: Origin
    #: The connections that wait for a request, the last used at the end.
    idle: list[Connection] = field(default_factory=list)
    #: Connections that stand or are being made.
    open: int = 0
    #: Requests that wait: for a connection, or, with None, for leave to make one.
    waiting: deque[tuple[asyncio.Future[Connection | None], float]] = field(default_factory=deque)


class Pool:
    """Connections by origin; used on one loop."""

    def __init__(
        self, *, names: AbstractResolver, tls: Callable[[], ssl.SSLContext], each: int, most: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._names = names
        self._tls = tls
        self._each, self._most = each, most
        self._hosts: dict[Origin, _Host] = {}
        self._open: dict[Connection, _Host] = {}
        self._making = 0
        self._waiting = 0
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def connection(self, origin: Origin, request: Request, *, fresh: bool) -> Connection:
        """A connection without a request; a `fresh` one was never used.

        Raises:
            NotSent: there was none within the request's `connect_timeout`.
        """
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(origin)
        if host.idle and not fresh:
            return host.idle.pop()
        until = self._loop.time() + request.connect_timeout
        self._sweep_soon()
        # A request with leave to make a connection may find that another was quicker.
        while not self._has_room(host):
            if (freed := await self._turn(host, request, until)) is None:
                continue
            if not fresh:
                return freed
            self._gone(freed)
        return await self._made(host, request, until)

    def idle(self, origin: Origin) -> Connection | None:
        """A kept connection, if there is one."""
        host = self._hosts.get(origin)
        return host.idle.pop() if host and host.idle else None

    async def close(self) -> None:
        """End all connections and look-ups; requests that have one raise Unanswered."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in [*self._open]:
            connection.close()
        for host in self._hosts.values():
            for turn, _ in host.waiting:
                if not turn.done():
                    turn.set_result(None)
            host.waiting.clear()
        await self._names.close()

    def _has_room(self, host: _Host) -> bool:
        if host.open >= self._each:
            return False
        if len(self._open) + self._making < self._most:
            return True
        # Those of other hosts that nobody uses give way.
        other = next((other for other in self._hosts.values() if other.idle), None)
        if other is not None:
            self._gone(other.idle[0])
        return other is not None

    async def _turn(self, host: _Host, request: Request, until: float) -> Connection | None:
        """Wait for a free connection, or for leave to make one (None)."""
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        host.waiting.append((turn, until))
        self._waiting += 1
        try:
            connection = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on(turn.result())
            raise
        except TimeoutError:
            raise _too_late(request) from None
        finally:
            self._waiting -= 1
        if self._is_closed:
            raise NotSent(describe(request, "closed"))
        return connection

    async def _made(self, host: _Host, request: Request, until: float) -> Connection:
        host.open += 1
        self._making += 1
        try:
            async with asyncio.timeout_at(until):
                connection = await self._connected(host.origin)
        except BaseException as error:
            host.open -= 1
            self._admit()
            failure = _not_sent(error, request)
            if failure is None:
                raise
            raise failure from None
        finally:
            self._making -= 1
        self._open[connection] = host
        if connection.is_lost:  # before it was ours
            self._gone(connection)
            raise NotSent(describe(request, "disconnected at once"))
        if self._is_closed:
            connection.close()
            raise NotSent(describe(request, "closed"))
        return connection

    async def _connected(self, origin: Origin) -> Connection:
        sock = await aiohappyeyeballs.start_connection(
            await self._addresses(origin),
            happy_eyeballs_delay=_NEXT_ADDRESS,
            interleave=1,
            loop=self._loop,
        )
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._loop, freed=self._freed, lost=self._gone),
            sock=sock,
            ssl=self._tls() if origin.is_secure else None,
            server_hostname=origin.host.rstrip(".") if origin.is_secure else None,
            ssl_shutdown_timeout=_GOODBYE if origin.is_secure else None,
        )
        return connection

    async def _addresses(self, origin: Origin) -> list[AddrInfoType]:
        if _is_address(origin.host):
            # Reads the address and asks nobody.
            found = socket.getaddrinfo(
                origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
            return cast(list[AddrInfoType], found)  # of hosts that are bytes, it is none
        return [
            (each["family"], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", _pair(each))
            for each in await self._names.resolve(origin.host, origin.port, socket.AF_UNSPEC)
        ]

    def _freed(self, connection: Connection) -> None:
        """An answer is complete: the next request, or nobody, gets the connection."""
        host = self._open.get(connection)
        if host is None:
            connection.abandon()
            return
        for turn in _turns(host):
            turn.set_result(connection)
            return
        if self._waiting and len(self._open) + self._making >= self._most:
            self._gone(connection)  # another host's requests wait for room
        else:
            host.idle.append(connection)

    def _pass_on(self, given: Connection | None) -> None:
        """Its turn has come to somebody who left just then."""
        if given is None:
            self._admit()
        else:
            self._freed(given)

    def _gone(self, connection: Connection) -> None:
        """The connection has ended, or ends now: another may be made."""
        host = self._open.pop(connection, None)
        if host is None:
            return
        host.open -= 1
        if connection in host.idle:
            host.idle.remove(connection)
        connection.abandon()
        self._admit()

    def _admit(self) -> None:
        """Give leave for one more connection, to the hosts in turn."""
        if not self._waiting:
            return
        for origin, host in [*self._hosts.items()]:
            if host.open >= self._each:
                continue
            for turn in _turns(host):
                self._hosts[origin] = self._hosts.pop(origin)  # the next one is another host's
                turn.set_result(None)
                return

    def _sweep_soon(self) -> None:
        if self._sweeping is None and not self._is_closed:
            self._sweeping = self._loop.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now = self._loop.time()
        for connection in [each for each in self._open if each.until <= now]:
            connection.end_overdue()
        for host in [*self._hosts.values()]:
            for turn, until in host.waiting:
                if until <= now and not turn.done():
                    turn.set_exception(TimeoutError())
            if not host.open and not host.waiting:
                del self._hosts[host.origin]
        if self._open or self._waiting or self._making:
            self._sweep_soon()


def _turns(host: _Host) -> Iterator["asyncio.Future[Connection | None]"]:
    """Those who still wait, the first first; each one that is taken waits no longer."""
    while host.waiting:
        turn, _ = host.waiting.popleft()
        if not turn.done():
            yield turn


def _pair(found: ResolveResult) -> tuple[str, int] | tuple[str, int, int, int]:
    if found["family"] == socket.AF_INET6:
        return found["host"], found["port"], 0, 0
    return found["host"], found["port"]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _too_late(request: Request) -> NotSent:
    return NotSent(describe(request, f"no connection within {request.connect_timeout:g} s"))


def _not_sent(error: BaseException, request: Request) -> TransportError | None:
    """What a request without a connection raises; None: the error is nobody's but the caller's."""
    match error:
        case TimeoutError():
            return _too_late(request)
        case NotResolved():
            return Unresolved(describe(request, str(error)))
        case OSError():  # errors of TLS too
            return NotSent(describe(request, error.strerror or str(error) or type(error).__name__))
        case ValueError():  # a name that no resolver can be asked for
            return NotSent(describe(request, f"cannot be connected to ({type(error).__name__})"))
        case _:
            return None
