"""Name servers on loopback: one that never answers, and one that knows a few names."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

_HEADER = struct.Struct("!6H")
_IPV4 = 1


@dataclass(slots=True)
class NameServer(asyncio.DatagramProtocol):
    """Answers for the names that it knows, with their IPv4 addresses, and is silent on others."""

    known: Mapping[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""
    _transport: asyncio.DatagramTransport | None = None
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def has_heard(self, count: int) -> None:
        """Wait until it was asked for so many names."""
        async with asyncio.timeout(30):
            while len(set(self.asked)) < count:
                self._heard.clear()
                await self._heard.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], _HEADER.size
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
            at += 1 + data[at]
        name, question = ".".join(labels), data[_HEADER.size : at + 5]
        self.asked.append(name)
        self._heard.set()
        if name not in self.known:
            return
        (kind,) = struct.unpack("!H", data[at + 1 : at + 3])
        records = b""
        if kind == _IPV4:
            records = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4)
            records += socket.inet_aton(self.known[name])
        (number,) = struct.unpack("!H", data[:2])
        header = _HEADER.pack(number, 0x8180, 1, 1 if records else 0, 0, 0)
        assert self._transport is not None
        self._transport.sendto(header + question + records, addr)


@asynccontextmanager
async def name_server(known: Mapping[str, str] | None = None) -> AsyncIterator[NameServer]:
    """A name server at `address`; silent on every name that is not `known`."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(known or {}), local_addr=("127.0.0.1", 0)
    )
    server.address = "{}:{}".format(*transport.get_extra_info("sockname"))
    try:
        yield server
    finally:
        transport.close()
