"""Thousands of accepted operations, and a vendor that knows which process polls.

The vendor serves only Runway's task endpoint, on a separate loop in the test's process: the
simulator would use more CPU than the workers under test.
"""

import asyncio
import json
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, cast

from tests.faults.harness.connections import Peers
from tests.faults.harness.receiver import secret_of
from tests.faults.harness.stack import Crew, FaultStack, fault_stack

#: Lines of one upload.
_LINES: Final = 5000
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_TASK = b'{"id": "%b", "createdAt": "2026-01-01T00:00:00.000Z", %b}'
_RUNNING, _FAILED = b'"status": "RUNNING"', b'"status": "FAILED", "failure": "it broke"'

_ACCEPTED = """
WITH taken AS (
    UPDATE attempt SET state = 'accepted', sent_at = now(), accepted_at = now(),
                       payload_hash = 'of nobody', operation_id = 'op-' || id
    WHERE state = 'planned' RETURNING id, job, route
), begun AS (
    UPDATE job SET state = 'processing', accepted_at = now(), typical_seconds = %(typical)s,
                   progress_source = 'reported'
    FROM taken WHERE job.id = taken.job
    RETURNING batch_id
), counted AS (
    INSERT INTO batch_change (batch, pending, processing)
    SELECT batch_id, -count(*), count(*) FROM begun GROUP BY batch_id
), due_now AS (
    UPDATE due SET what = 'poll', at = now() FROM taken
    WHERE due.what = 'submit' AND due.id = taken.id
), known AS (
    INSERT INTO duration (route, p10, p50, p90, samples)
    SELECT DISTINCT route, %(typical)s / 20, %(typical)s, %(typical)s * 20, 200 FROM taken
    ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50, p90 = excluded.p90
), told AS (
    INSERT INTO event (job, kind)
    SELECT job, kind FROM taken, unnest(ARRAY['submitting', 'processing']) AS kind
    ORDER BY job, kind DESC
)
SELECT job, 'op-' || id AS operation FROM taken ORDER BY job
"""


@dataclass(slots=True)
class Asked:
    """The polls of one operation."""

    #: The process that polled last, and how often the polling process changed.
    by: int = 0
    moves: int = 0
    #: Monotonic time of the last poll, and whether that poll reported the end.
    at: float = 0.0
    was_told: bool = False


@dataclass(slots=True)
class Vendor:
    """Tasks run until they are ended. Every attribute may be read and changed from any thread."""

    #: Seconds until it answers.
    takes: float = 0.0
    #: The sessions of the processes that may poll.
    sessions: Callable[[], Sequence[int]] = lambda: ()
    ended: set[str] = field(default_factory=set)
    asked: dict[str, Asked] = field(default_factory=dict)
    #: Polls by process.
    polls: dict[int, int] = field(default_factory=dict)
    #: The operation whose polls kill the polling process, and the processes killed.
    deadly: str = ""
    killed: list[int] = field(default_factory=list)
    port: int = 0
    peers: Peers = field(default_factory=lambda: Peers(0))
    connections: set[asyncio.Transport] = field(default_factory=set)

    def answer(self, operation: str, by: int) -> bytes:
        """The task, as answered to one process."""
        asked = self.asked.setdefault(operation, Asked())
        asked.moves += asked.by not in {0, by}
        asked.by, asked.at = by, time.monotonic()
        self.polls[by] = self.polls.get(by, 0) + 1
        asked.was_told = operation in self.ended
        return _TASK % (operation.encode(), _FAILED if asked.was_told else _RUNNING)

    def strike(self, by: int) -> None:
        """Kill one of our processes that polled the deadly operation."""
        if by in self.killed or os.getsid(by) not in self.sessions():
            return
        self.killed.append(by)
        os.kill(by, signal.SIGKILL)

    def forget(self) -> None:
        """Reset the counts."""
        self.asked, self.polls = {}, {}

    def asked_since(self, began: float, operations: Sequence[str]) -> int:
        """How many of these operations were polled since."""
        asked = self.asked
        return sum(one in asked and asked[one].at > began for one in operations)


class _Connection(asyncio.Protocol):
    """One connection; requests have no body."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._unread = b""
        self._transport: asyncio.Transport | None = None
        self._by = self._peer = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._vendor.connections.add(self._transport)
        self._peer = transport.get_extra_info("peername")[1]
        self._by = self._vendor.peers.accept(self._peer, self._vendor.sessions())

    def connection_lost(self, error: Exception | None) -> None:
        assert self._transport is not None
        self._vendor.connections.discard(self._transport)
        self._vendor.peers.close(self._peer)

    def data_received(self, data: bytes) -> None:
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for head in heads:
            operation = head.split(b" ", 2)[1].rpartition(b"/")[2].decode()
            if operation == self._vendor.deadly:
                self._vendor.strike(self._by)
                continue
            asyncio.get_running_loop().call_later(self._vendor.takes, self._answer, operation)

    def _answer(self, operation: str) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            body = self._vendor.answer(operation, self._by)
            self._transport.write(_HEAD % (len(body), body))


@contextmanager
def asked_vendor() -> Iterator[Vendor]:
    """A vendor that serves for the duration of the block."""
    vendor, begun = Vendor(), queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    vendor.port = vendor.peers.port = listening.getsockname()[1]

    async def serve() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(lambda: _Connection(vendor), sock=listening)
        begun.put((loop, over))
        await over.wait()
        server.close()
        for connection in list(vendor.connections):
            connection.abort()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="vendor", daemon=True)
    thread.start()
    loop, over = begun.get(timeout=10)
    try:
        yield vendor
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


@contextmanager
def watched_stack(
    *, lease: float, floor: float, workers: int = 1, **variables: str
) -> Iterator[tuple[FaultStack, Vendor]]:
    """A stack whose Runway is such a vendor; operations are polled every `floor` seconds."""
    with asked_vendor() as vendor:
        told = {
            "RUNWAYML_BASE_URL": f"http://127.0.0.1:{vendor.port}",
            "RUNWAYML_API_SECRET": "key_of_the_watched_vendor",
            "LONGTAKE_POLL_FLOOR_SECONDS": str(floor),
        }
        crew = Crew(workers=workers, lease=lease, variables=told | variables)
        with fault_stack(crew) as stack:
            vendor.sessions = lambda: [each.pid for each in (*stack.workers, *stack.others)]
            yield stack, vendor


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Jobs with one operation each, in the same order."""

    jobs: list[str]
    operations: list[str]


def accepted(stack: FaultStack, count: int, *, typical: float, every: int = 0) -> Operations:
    """Create operations whose polls are due, as if they had been submitted.

    One in `every` jobs has a webhook. No worker may run, because it would submit them.
    """
    lines = [
        _line(stack, number, is_told=bool(every) and number % every == 0) for number in range(count)
    ]
    with stack.client() as client:
        for start in range(0, count, _LINES):
            part = lines[start : start + _LINES]
            client.submit_batch("\n".join(map(json.dumps, part)), key=f"watched-{start}")
    sql = _ACCEPTED.replace("%(typical)s", f"{typical}::float8")
    rows = stack.rows(sql)
    assert len(rows) == count
    in_order = {row["id"]: n for n, row in enumerate(stack.rows(_IN_ORDER))}
    rows.sort(key=lambda row: in_order[row["job"]])
    return Operations(
        jobs=[row["job"] for row in rows], operations=[row["operation"] for row in rows]
    )


_IN_ORDER = """
SELECT job.id FROM job JOIN batch ON batch.id = job.batch_id
ORDER BY batch.created_at, job.batch_line
"""


def _line(stack: FaultStack, number: int, *, is_told: bool) -> dict[str, object]:
    name = f"watched-{number:05d}"
    line: dict[str, object] = {"prompt": f"A fox, {name}", "model": "gen4.5"}
    if is_told:
        line |= {"webhook_url": stack.receiver.url(name), "webhook_secret": secret_of(name)}
    return line
