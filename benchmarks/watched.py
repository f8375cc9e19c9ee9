"""Process under measurement: watches operations of a vendor of its own, and prints what it took.

Its arguments are what to do (`memory`, `silent` or `progress`), how many operations and, unless for
`memory`, how many seconds they run. The vendor answers in this process, so no request costs CPU.
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass, field, replace

import structlog

from benchmarks.rows import LANE, fresh_operations
from models.database import Connection
from settings import load
from tasks.engine import Engine
from tasks.watch.watcher import Watcher
from transport.answer import Fields
from transport.base import Request, Response

#: Typical seconds of operations that are only kept: their looks are far apart.
_FAR = 30_000.0
_STATUS = "/proc/self/statm"


@dataclass(slots=True)
class Vendor:
    """Runway's task endpoint as a client: tasks end after so many seconds."""

    lasts: float
    tells_progress: bool
    began: float = field(default_factory=time.monotonic)
    looks: int = 0

    async def send(self, request: Request) -> Response:
        self.looks += 1
        elapsed = time.monotonic() - self.began
        task: dict[str, object] = {
            "id": request.url.rpartition("/")[2],
            "createdAt": "2026-01-01T00:00:00Z",
        }
        if elapsed >= self.lasts:
            task |= {"status": "SUCCEEDED", "output": ["https://videos.example.com/1.mp4"]}
        else:
            progress = round(elapsed / self.lasts, 2) if self.tells_progress else 0
            task |= {"status": "RUNNING", "progress": progress}
        return Response(status=200, headers=Fields([]), content=json.dumps(task).encode())

    async def close(self) -> None:
        pass


async def _memory(engine: Engine, count: int) -> dict[str, float]:
    """What so many residents take, and how long they take to come and go."""
    engine = replace(engine, polls=Vendor(lasts=86_400.0, tells_progress=False))
    watcher = Watcher(engine=engine)
    await watcher.begin()
    before, began = _bytes(), time.monotonic()
    await watcher.taking.take(LANE)
    taken = time.monotonic()
    while any(each.item.polls == 0 for each in watcher.residents.values()):  # noqa: ASYNC110 - a measurement; the caller bounds it
        await asyncio.sleep(0.1)
    after, looked = _bytes(), time.monotonic()
    assert len(watcher.residents) == count
    cpu = time.process_time()
    await asyncio.sleep(5)
    idle = (time.process_time() - cpu) / 5
    left = time.monotonic()
    await watcher.leave()
    return {
        "bytes_each": (after - before) / count,
        "take_seconds": taken - began,
        "first_looks_seconds": looked - taken,
        "cpu_share_waiting": idle,
        "leave_seconds": time.monotonic() - left,
    }


async def _written(engine: Engine, vendor: Vendor, count: int) -> dict[str, float]:
    """Row versions and WAL of operations from their claims to their ends."""
    engine = replace(engine, polls=vendor)
    watcher = Watcher(engine=engine)
    await watcher.begin()
    await asyncio.sleep(1)
    versions, wal = await engine.database.run(_so_far)
    vendor.began = time.monotonic()
    await watcher.taking.take(LANE)
    while watcher.residents:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.5)
    await watcher.leave()
    await asyncio.sleep(2)  # PostgreSQL's counters are told a second late
    more_versions, more_wal = await engine.database.run(_so_far)
    return {
        "versions_each": (more_versions - versions) / count,
        "wal_each": (more_wal - wal) / count,
        "looks_each": vendor.looks / count,
    }


async def _so_far(connection: Connection) -> tuple[int, int]:
    cursor = await connection.execute(
        """
        SELECT sum(n_tup_ins + n_tup_upd)::bigint AS versions,
               (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal
        FROM pg_stat_user_tables WHERE relname <> 'holder'
        """
    )
    row = await cursor.fetchone()
    assert row is not None
    return row["versions"], row["wal"]


def _bytes() -> int:
    """Memory of the process at present."""
    with open(_STATUS, encoding="ascii") as file:  # noqa: PTH123 - no path of ours
        return int(file.read().split()[1]) * resource.getpagesize()


async def _run(what: str, count: int, seconds: float) -> dict[str, float]:
    settings = load()
    typical = _FAR if what == "memory" else seconds
    fresh_operations(settings.require_database(), "w-", count=count, typical=typical)
    engine = Engine.build(settings)
    try:
        if what == "memory":
            return await _memory(engine, count)
        vendor = Vendor(lasts=seconds, tells_progress=what == "progress")
        return await _written(engine, vendor, count)
    finally:
        await engine.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    name, number, *rest = sys.argv[1:]
    found = asyncio.run(_run(name, int(number), float(rest[0]) if rest else 0.0))
    sys.stdout.write(json.dumps(found) + "\n")
