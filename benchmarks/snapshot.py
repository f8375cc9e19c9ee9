"""Polls per second by the pump, with and without a long-held snapshot.

A snapshot keeps every dead row version. Five minutes of polling are replayed in seconds: with the
pump's own statements, each operation is claimed and put back as often as with a poll every five
seconds, while the snapshot is held. Then the pump runs.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import uuid4

import psycopg

from benchmarks.polls import PUMPED, Bench
from benchmarks.processes import Process
from benchmarks.report import Contender, Reading, Report, Target
from benchmarks.rows import LANE
from benchmarks.stand import Stand
from benchmarks.worker import pointed_at, polling, pumping, vendor
from models import due
from models.database import Connection, Database
from models.verbs import What
from scheduler.claim import Turn, claim

#: Five minutes with a poll every five seconds.
LOOKS = 60
BATCH = 500


def measure(stand: Stand, *, rounds: int) -> Report:
    """Run both `rounds` times, in turn, after one short uncounted run."""
    with vendor(stand) as upstream, _worker(stand, upstream.url) as worker:
        bench = Bench(stand, upstream)
        bench.pump(worker)
        free, held = list[Reading](), list[Reading]()
        for _ in range(rounds):
            free.append(bench.pump(worker, before=lambda: age(stand.database_url)))
            with old_snapshot(stand.database_url) as hold:
                held.append(bench.pump(worker, before=hold))
    contenders = [
        Contender("pump, no snapshot", free),
        Contender(f"pump, under a snapshot {LOOKS} looks old", held),
    ]
    ratios = contenders[1].against(contenders[0])
    return Report(
        name="snapshot: polls per second under an old snapshot",
        unit="polls",
        contenders=contenders,
        targets=[Target(words="under the snapshot / without", at_least=0.5, ratios=ratios)],
    )


@contextmanager
def old_snapshot(url: str) -> Iterator[Callable[[], None]]:
    """A snapshot held until the block ends; taken when the yielded function is called."""
    with psycopg.connect(url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def hold() -> None:
            reader.execute("SELECT count(*) FROM due")
            age(url)

        yield hold


def age(url: str) -> None:
    """Claim and put back every operation as often as in five minutes."""
    asyncio.run(_age(url))


async def _age(url: str) -> None:
    database, looks, turn, floor = Database(url, connections=2), 0, Turn(), None
    while looks < LOOKS * PUMPED:
        lease = str(uuid4())

        async def work(connection: Connection, lease: str = lease) -> int:
            nonlocal turn, floor
            found = await claim(
                connection,
                What.POLL,
                lane=LANE,
                turn=turn,
                floor=floor,
                most=BATCH,
                each=BATCH,
                lease=lease,
                seconds=30.0,
            )
            turn, floor = found.turn, found.floor
            return await _put_back(connection, [row.id for row in found.rows])

        looks += await database.run(work)
    await database.close()


async def _put_back(connection: Connection, ids: list[str]) -> int:
    await due.put_back(connection, What.POLL, ids, after=[0.0] * len(ids))
    return len(ids)


def _worker(stand: Stand, vendor: str) -> AbstractContextManager[Process]:
    """One that watches nothing: the pump is what claims again and again."""
    return polling("pump", stand, pointed_at(vendor) | pumping())
