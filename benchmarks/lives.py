"""What an operation's life costs PostgreSQL: row versions and write-ahead log, to its end.

Each operation lives for as long as is typical, is polled about a dozen times and succeeds. A vendor
tells progress or does not. Twenty seconds stand for a minute: what is written at most once in so
many seconds is a share of the typical time. The waits are real, so there is one run of each. The
log is counted without images of whole pages, which depend on when a checkpoint was.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from benchmarks.processes import Meter
from benchmarks.rows import Written, ended, fresh_operations, polls_written
from benchmarks.stand import Stand
from benchmarks.worker import (
    HAS_WATCHER,
    Vendor,
    hint,
    pause,
    pointed_at,
    polling,
    pumping,
    vendor,
    watching,
)

#: Operations, seconds of each one's life, and the shortest wait between two polls of one.
OPERATIONS, LIFE, FLOOR = 3_000, 20.0, 1.6
#: Seconds between two hints, as of a tick, and in which all must have ended.
_TICK, _BOUND = 0.5, 90.0
#: Seconds after which an idle session of PostgreSQL has told what it wrote.
_TOLD = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What a life cost, on average."""

    looks: float
    versions: float
    wal: float
    worker_micros: float
    database_micros: float


def measure(stand: Stand) -> Iterator[str]:
    """A line for each way to poll and each kind of vendor."""
    with psycopg.connect(stand.database_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("SELECT pg_reload_conf()")
    ways = [("pump", pumping())]
    if HAS_WATCHER:
        ways.append(("watcher", watching()))
    with vendor(stand) as upstream:
        for progress, words in (("none", "without progress"), ("time", "with progress")):
            for name, settings in ways:
                life = _life(
                    stand, upstream, settings, progress=progress, name=f"{name}-{progress}"
                )
                yield (
                    f"a life of {life.looks:.0f} looks {words}, {name}: {life.versions:.1f} row "
                    f"versions, {life.wal / 1000:.1f} kB of WAL, {life.worker_micros:,.0f} µs of "
                    f"the worker, {life.database_micros:,.0f} µs of PostgreSQL"
                )


def _life(
    stand: Stand, upstream: Vendor, settings: dict[str, str], *, progress: str, name: str
) -> Life:
    url = stand.database_url
    pointed = pointed_at(upstream.url, floor=FLOOR)
    with polling(f"lives-{name}", stand, pointed | settings) as worker:
        fresh_operations(url, f"{name}-", count=OPERATIONS, typical=LIFE)
        upstream.behave(progress, lives=LIFE)
        pause(_TOLD)
        before = Written.so_far(url)

        def have_ended() -> bool:
            hint(stand)
            pause(_TICK)
            return ended(url) == OPERATIONS

        with Meter(worker.tree, stand.database) as meter:
            worker.wait_until(have_ended, within=_BOUND, what="end of its operations")
    pause(_TOLD)
    after = Written.so_far(url)
    return Life(
        looks=polls_written(url) / OPERATIONS,
        versions=(after.versions - before.versions) / OPERATIONS,
        wal=(after.wal - before.wal) / OPERATIONS,
        worker_micros=meter.cpu_seconds / OPERATIONS * 1e6,
        database_micros=meter.database_seconds / OPERATIONS * 1e6,
    )
