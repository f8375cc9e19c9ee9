"""Hosts and names of hostile tenants: they hang until they are let go, then answer like any other.

All of them are one port of loopback and one name server, served by a thread's own loop.
"""

import asyncio
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cli.demo.shots import picture
from tests.faults.harness.receiver import Receipt, receipt_of
from tests.unit.transport.name_server import name_server

#: Names below this one lead to the host, and names below that one are not answered until the end.
HANGING, SILENT = "hanging.example", "silent.example"
#: The name of loopback that a tenant uses who does no harm.
QUIET = "quiet.example"
#: How many names there are of each.
MOST_NAMES = 10_000
#: Connections that wait to be accepted.
_BACKLOG = 4096
#: Seconds that a host hangs at most, that a request may take to be read, and for the thread to end.
_LONGEST, _TO_READ, _TO_END = 3600.0, 10.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request, read whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class FarHosts:
    """Where links and webhooks of hostile tenants lead."""

    #: The name server's address with its port.
    names: str = ""
    #: What came and was answered, once the hosts did.
    receipts: list[Receipt] = field(default_factory=list)
    #: Connections that hung, those of them whose callers left, and names that were asked for.
    hung: int = 0
    left: int = 0
    asked: list[str] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)
    _port: int = 0
    _answers: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _is_up: threading.Event = field(default_factory=threading.Event)

    def hanging(self, number: int, path: str) -> str:
        """A URL at a host that accepts connections and says nothing."""
        assert number < MOST_NAMES
        return f"http://n{number}.{HANGING}:{self._port}{path}"

    def silent(self, number: int, path: str) -> str:
        """A URL at a name whose look-up hangs."""
        assert number < MOST_NAMES
        return f"http://n{number}.{SILENT}:{self._port}{path}"

    def let_go(self) -> None:
        """From now on all names are known, and all hosts answer, also who hangs already."""
        self._known |= _addresses(SILENT)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._answers.set)

    def run(self) -> None:
        """Serve until `end`."""
        asyncio.run(self._serve())

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)

    def until_up(self) -> None:
        assert self._is_up.wait(_TO_END), "the far hosts do not come up"

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._known |= {QUIET: "127.0.0.1", **_addresses(HANGING)}
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=_BACKLOG)
        async with server, name_server(self._known) as names:
            self._port = server.sockets[0].getsockname()[1]
            self.names, self.asked = names.address, names.asked
            self._is_up.set()
            await self._over.wait()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A caller that gives up is nobody's fault; who still hangs at the end is cancelled by it.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            async with asyncio.timeout(_TO_READ):
                asked = await _read(reader)
            if self._answers.is_set() or await self._hang(reader):
                async with asyncio.timeout(_TO_READ):
                    writer.write(self._answer(asked))
                    await writer.drain()
        writer.close()

    async def _hang(self, reader: asyncio.StreamReader) -> bool:
        """Say nothing until all are let go; whether the caller is still there then."""
        self.hung += 1
        let_go = asyncio.create_task(self._answers.wait())
        gone = asyncio.create_task(reader.read())
        try:
            await asyncio.wait(
                {let_go, gone}, timeout=_LONGEST, return_when=asyncio.FIRST_COMPLETED
            )
            self.left += gone.done()
            return let_go.done() and not gone.done()
        finally:
            let_go.cancel()
            gone.cancel()

    def _answer(self, asked: _Asked) -> bytes:
        if asked.method == "POST":
            self.receipts.append(receipt_of(asked.path, asked.headers, asked.body, is_taken=True))
            return b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        content = b64decode(picture(640, 360).partition(",")[2])
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {len(content)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + content


async def _read(reader: asyncio.StreamReader) -> _Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.strip().split("\r\n")
    method, path, _ = line.split(" ", 2)
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return _Asked(method=method, path=path, headers=headers, body=body)


def _addresses(name: str) -> dict[str, str]:
    return {f"n{number}.{name}": "127.0.0.1" for number in range(MOST_NAMES)}


@contextmanager
def far_hosts() -> Iterator[FarHosts]:
    hosts = FarHosts()
    thread = threading.Thread(target=hosts.run, name="far hosts", daemon=True)
    thread.start()
    hosts.until_up()
    try:
        yield hosts
    finally:
        hosts.end()
        thread.join(_TO_END)
