"""The benchmarks' vendor: only Runway's task endpoint, fast enough not to be the bottleneck.

    python -m benchmarks.upstream percent|time|none [PEM file with a key and its certificate]

The simulator costs several times what a poll costs the client, so all clients would look alike.
This server answers as TaskRetrieveResponse (runwayml 5.24.0) describes, and counts its answers:

    GET /_mode/{percent|time|none}/{seconds}   forget all tasks; how the next ones behave
    GET /_looks                                how many looks it has answered since

A task's progress grows by one percent with each look, or with its time, or is not told. It succeeds
so many seconds after its first look; with 0 it runs for ever.
"""

import asyncio
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_TASK = (
    b'{"id": "%b", "createdAt": "2026-01-01T00:00:00.000+00:00", '
    b'"estimatedCost": {"credits": 25}, %b}'
)
_SUCCEEDED = b'"status": "SUCCEEDED", "output": ["https://videos.example/%b.mp4"]'


@dataclass(slots=True)
class Tasks:
    """What the vendor knows of its tasks."""

    progress: bytes = b"percent"
    lives: float = 0.0
    answered: int = 0
    #: Looks of each task, and when the first one was.
    looks: dict[bytes, int] = field(default_factory=dict)
    began: dict[bytes, float] = field(default_factory=dict)

    def forget(self, progress: bytes, lives: float) -> None:
        """Begin anew."""
        self.progress, self.lives, self.answered = progress, lives, 0
        self.looks.clear()
        self.began.clear()

    def look(self, task: bytes) -> bytes:
        """The answer to a look."""
        self.answered += 1
        looks = self.looks[task] = self.looks.get(task, 0) + 1
        if not self.lives:
            return _TASK % (task, self._running(looks / 100))
        now = time.monotonic()
        age = (now - self.began.setdefault(task, now)) / self.lives
        return _TASK % (task, _SUCCEEDED % task if age >= 1 else self._running(age))

    def _running(self, progress: float) -> bytes:
        if self.progress == b"none":
            return b'"status": "RUNNING"'
        return b'"status": "RUNNING", "progress": %.2f' % min(progress, 0.99)


class Vendor(asyncio.Protocol):
    """One connection; requests have no body and may be pipelined."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's transport does not subclass it

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for head in heads:
            body = self._answer(head.split(b" ", 2)[1])
            self._transport.write(_HEAD % (len(body), body))

    def _answer(self, path: bytes) -> bytes:
        tasks = self._tasks
        match path.split(b"/")[1:]:
            case [b"_looks"]:
                return b"%d" % tasks.answered
            case [b"_mode", progress, lives]:
                tasks.forget(progress, float(lives))
                return b"0"
            case parts:
                return tasks.look(parts[-1])


async def _serve(progress: str, certificate: str | None) -> None:
    tasks = Tasks(progress=progress.encode())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
    if tls and certificate:
        tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Vendor(tasks), "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{'https' if tls else 'http'}://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], sys.argv[2] if sys.argv[2:] else None))
