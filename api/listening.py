"""Listening: connections are accepted one by one, and only while there is a place for them.

An event loop's own server accepts all who wait, until no file is left, and then closes or leaves
whoever is next, be it a client that sends a request at once.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

import structlog

from api.connections import Connection, Connections

log = structlog.get_logger()

#: Connections that may wait in the kernel, and those that are accepted between two turns of the
#: loop: each of them may hold a file that its predecessor has not given back yet.
_WAITING: Final = 2048
_AT_A_TURN: Final = 16
#: Seconds until the next look where all places are taken.
_LOOKS_AGAIN: Final = 0.1


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of a host that this machine has; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets, lacking = list[socket.socket](), list[OSError]()
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(socket.create_server(address[:2], family=family, backlog=_WAITING))
        except OSError as error:
            if error.errno in _NOT_HERE:
                lacking.append(error)
                continue
            for each in sockets:
                each.close()
            raise
    if lacking and not sockets:
        raise lacking[0]
    return sockets


class Listener:
    """Accepts connections on sockets, on the running loop."""

    def __init__(
        self,
        sockets: list[socket.socket],
        connections: Connections,
        make: Callable[[], Connection],
    ) -> None:
        self._sockets = sockets
        self._connections = connections
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_closed = False

    def start(self) -> None:
        """Accept from now on."""
        for each in self._sockets:
            each.settimeout(0)
            self._loop.add_reader(each, self._accept, each)

    def close(self) -> None:
        """Accept no more."""
        self._is_closed = True
        if self._pause is not None:
            self._pause.cancel()
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()

    def _accept(self, listening: socket.socket) -> None:
        for number in range(_AT_A_TURN):
            # Somebody waits for sure only at first: nobody busy goes for one who may not be there.
            if not self._connections.has_place(busy=not number):
                if number:
                    return
                self._rest()
                return
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_FILES:
                    raise
                log.warning("api.cannot_accept", reason=error.strerror)
                self._connections.make_place()
                self._rest()
                return
            self._begin(accepted, peer[0])

    def _rest(self) -> None:
        """Leave those who wait in the kernel for a moment."""
        if self._is_closed:
            return
        for each in self._sockets:
            self._loop.remove_reader(each)
        if self._pause is not None:
            self._pause.cancel()
        self._pause = self._loop.call_later(_LOOKS_AGAIN, self.start)

    def _begin(self, accepted: socket.socket, host: str) -> None:
        connection = self._make()
        self._connections.enter(connection, host)
        task = self._loop.create_task(self._connect(connection, accepted))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # it is gone already
            self._connections.leave(connection)
            accepted.close()


#: The machine has no such address, or no such kind of addresses (IPv6).
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
#: No file is left to this process, or to the machine, or no memory for a socket.
_NO_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
