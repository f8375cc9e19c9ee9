"""A bare TCP server that does what it is told after it has read a request, and counts."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Speaks in bytes, so that nothing of HTTP is smoothed over; `requests` are whole."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.behave: Behaviour = self.answer()
        self._closing = asyncio.Event()
        self._changed = asyncio.Condition()
        self._talks: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def open(
        self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = await asyncio.start_server(self._talk, host, port, ssl=tls)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._closing.set()
        self._server.close()
        talks = [talk for talk in self._talks.values() if talk]
        for writer in self._talks:
            writer.transport.abort()
        await asyncio.gather(*talks)
        await self._server.wait_closed()

    def url(self, path: str = "/v1/videos", *, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def has_read(self, count: int) -> None:
        """Wait until that many requests are here."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def is_left(self) -> None:
        """Wait until no client is connected."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: not self._talks)

    @staticmethod
    def answer(body: bytes = b"{}", *, status: str = "200 OK", headers: str = "") -> Behaviour:
        async def behave(writer: asyncio.StreamWriter) -> None:
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

        return behave

    def answer_after(self, seconds: float) -> Behaviour:
        async def behave(writer: asyncio.StreamWriter) -> None:
            await self._pause(seconds)
            await self.answer()(writer)

        return behave

    def say(self, raw: bytes, *, then_close: bool) -> Behaviour:
        async def behave(writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            await writer.drain()
            if then_close:
                raise ConnectionResetError

        return behave

    def drop(self) -> Behaviour:
        return self.say(b"", then_close=True)

    def stay_silent(self) -> Behaviour:
        return self.say(b"", then_close=False)

    @staticmethod
    def reset() -> Behaviour:
        async def behave(writer: asyncio.StreamWriter) -> None:
            no_lingering = struct.pack("ii", 1, 0)
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
            writer.transport.abort()
            raise ConnectionResetError

        return behave

    def trickle(self) -> Behaviour:
        """A body that never pauses for long and never ends."""

        async def behave(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8000\r\n\r\n")
            while not (self._closing.is_set() or writer.is_closing()):
                writer.write(b"x")
                await writer.drain()
                await self._pause(0.02)

        return behave

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._talks[writer] = asyncio.current_task()
        try:
            while True:
                request = await _whole_request(reader)
                async with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                await self.behave(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one of the two has gone, as it may at any time
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        async with self._changed:
            del self._talks[writer]
            self._changed.notify_all()


async def _whole_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = (
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    return head + await reader.readexactly(next(lengths, 0))
