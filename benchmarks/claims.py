"""Claims of 500 due rows, joined to their attempts, on tables of three sizes in turn.

Each size has its own database on one server. A reading is the pump's claim statement, committed,
then the poll verb's load of the claimed rows. Outside the measurement, claimed rows are made due
again and vacuumed between readings, as autovacuum would.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql

from benchmarks.processes import Meter, Tree
from benchmarks.report import Contender, Reading, Report, Target
from benchmarks.rows import LANE, fresh_operations
from benchmarks.stand import Stand
from models.database import Connection, Database
from models.migrate import upgrade
from models.verbs import What
from scheduler.claim import Found, Turn, claim

SIZES = (1_000, 100_000, 1_000_000)
#: Due rows per table, rows per claim, and claims per reading.
DUE, BATCH, CLAIMS = 1_000, 500, 20

#: The query of `Poll.load`.
_LOAD = """
SELECT attempt.id, attempt.job, job.tenant, attempt.account, attempt.operation_id,
       extract(epoch FROM now() - attempt.accepted_at)::float8 AS elapsed, job.typical_seconds
FROM attempt JOIN job ON job.id = attempt.job
WHERE attempt.id = ANY(%s) AND attempt.state = 'accepted'
"""


def measure(stand: Stand, *, rounds: int) -> Report:
    """Measure every size `rounds` times, in turn, after one uncounted round."""
    contenders = asyncio.run(_measured(stand, rounds))
    small, middle, large = contenders
    return Report(
        name="claims: rows claimed per second, 500 at a time",
        unit="rows",
        contenders=contenders,
        targets=[
            # 1.3 times slower is a rate of 1/1.3.
            Target(words="1,000,000 / 100,000", at_least=1 / 1.3, ratios=large.against(middle)),
            Target(words="1,000,000 / 1,000", at_least=1 / 2.5, ratios=large.against(small)),
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A database of one size."""

    size: int
    url: str
    database: Database

    async def reading(self, stand: Stand, dice: random.Random) -> Reading:
        """Run CLAIMS claims sequentially."""
        seconds, done = 0.0, 0
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE due")
        meter = Meter(Tree(os.getpid()), stand.database)
        with meter:
            for _ in range(CLAIMS):
                began = asyncio.get_running_loop().time()
                found = await self.database.run(_claim)
                ids = [row.id for row in found.rows]
                await self.database.fetch(_LOAD, (ids,))
                seconds += asyncio.get_running_loop().time() - began
                done += len(ids)
                await self._make_due_again(ids, dice)
        return Reading(
            done=done,
            seconds=seconds,
            cpu_seconds=meter.cpu_seconds,
            database_seconds=meter.database_seconds,
            peak_memory=meter.peak_memory,
        )

    async def _make_due_again(self, ids: list[str], dice: random.Random) -> None:
        ago = [dice.uniform(0, 60) for _ in ids]
        await self.database.fetch(
            """
            UPDATE due SET at = now() - back.ago * interval '1 s', lease = NULL, tries = 0
            FROM unnest(%s::text[], %s::float8[]) AS back(id, ago) WHERE due.id = back.id
            """,
            (ids, ago),
        )


async def _claim(connection: Connection) -> Found:
    return await claim(
        connection,
        What.POLL,
        lane=LANE,
        turn=Turn(),
        most=BATCH,
        each=BATCH,
        lease=str(uuid4()),
        seconds=30.0,
    )


async def _measured(stand: Stand, rounds: int) -> list[Contender]:
    dice = random.Random(1)
    async with _tables(stand) as tables:
        readings: dict[int, list[Reading]] = {table.size: [] for table in tables}
        for number in range(rounds + 1):
            for table in tables:
                reading = await table.reading(stand, dice)
                if number:
                    readings[table.size].append(reading)
    return [Contender(f"{size:,} jobs", found) for size, found in readings.items()]


@asynccontextmanager
async def _tables(stand: Stand) -> AsyncIterator[list[Table]]:
    tables = []
    for size in SIZES:
        name = f"claims_{size}"
        with psycopg.connect(stand.database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = stand.database_url.replace("/longtake?", f"/{name}?")
        upgrade(url)
        fresh_operations(url, "c", count=size, typical=60.0, due=DUE)
        tables.append(Table(size=size, url=url, database=Database(url, connections=2)))
    yield tables
    for table in tables:
        await table.database.close()
