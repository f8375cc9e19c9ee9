"""A picture server on loopback, which every name resolves to, so that no test asks the network."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from transport.fast import FastClient

#: As many bytes of a JPEG as show what it is.
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(JPEG), JPEG)
)


class Loopback(AbstractResolver):
    """Every name is this machine, at one port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self._port,
                family=socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def pictures(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Engines that are built within it find every http:// picture; yields what was asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, host = head.split()[1], head.lower().partition("\r\nhost: ")[2].split()[0]
        asked.append(host + path)
        writer.write(_ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    resolver = Loopback(server.sockets[0].getsockname()[1])
    guarded = FastClient.guarded
    monkeypatch.setattr(FastClient, "guarded", partial(guarded, resolver=resolver))
    async with server:
        yield asked
