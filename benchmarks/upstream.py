"""The benchmarks' vendor: only Runway's task endpoint, fast enough not to be the bottleneck.

The simulator costs several times what a poll costs the client, so all clients would look alike.
This server returns RUNNING for any task, in the format of TaskRetrieveResponse (runwayml 5.24.0),
with one percent more progress at each poll.
"""

import asyncio
import sys
from collections import Counter
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_TASK = (
    b'{"id": "%b", "createdAt": "2026-01-01T00:00:00.000+00:00", "status": "RUNNING", '
    b'"estimatedCost": {"credits": 25}, "progress": %.2f}'
)


class Vendor(asyncio.Protocol):
    """One connection; requests have no body and may be pipelined."""

    def __init__(self, looks: Counter[bytes]) -> None:
        self._looks = looks
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
            path = head.split(b" ", 2)[1]
            self._transport.write(self._answer(path.rsplit(b"/", 1)[1]))

    def _answer(self, task: bytes) -> bytes:
        self._looks[task] += 1
        body = _TASK % (task, min(self._looks[task], 99) / 100)
        return _HEAD % (len(body), body)


async def _serve() -> None:
    looks: Counter[bytes] = Counter()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Vendor(looks), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
