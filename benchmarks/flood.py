"""Seconds from 202 to `sent` of one tenant's jobs, alone and while another submits 2,000 at once.

The whole local stack runs, with the simulator as vendor: both tenants use one account, and so one
lane. Tenant `a` submits its jobs as fast as the API takes them; tenant `b` submits one each 200 ms.
A wait is the time between the client's 202 and `attempt.sent_at`, on one machine and so by one
clock. Beside it stands how many rows of `a` were sent between the two, which a slow machine does
not change.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import quantiles

import httpx
import psycopg
from psycopg.rows import tuple_row

from benchmarks.processes import Meter, NotMeasured, Tree
from benchmarks.report import Contender, Reading, Report, Target
from benchmarks.stand import Stand
from models.database import Connection, Database
from models.keys import create_key
from settings import load
from stack.stack import Stack, running

#: Jobs of the flood, and the connections over which it comes.
FLOOD, CONNECTIONS = 2_000, 16
#: The other tenant's jobs without a flood, and seconds between two of them.
ALONE, EVERY = 50, 0.2
#: The most that a job of the other tenant may wait, in seconds: the 99th of 100.
GOAL = 0.5
#: Timeout of the flood, and of the last jobs' sending, in seconds.
BOUND, REST = 300.0, 60.0

_FLOODING, _OTHER = "a", "b"
_PATH = "/v1/video/generations"

# For each answered job of the other tenant: when it was sent, and what the flood sent in between.
_SENT = """
SELECT attempt.job, extract(epoch FROM attempt.sent_at)::float8,
       (SELECT count(*) FROM attempt AS their JOIN job ON job.id = their.job
        WHERE job.tenant = %s
          AND their.sent_at BETWEEN to_timestamp(answered.at) AND attempt.sent_at)
FROM attempt JOIN unnest(%s::text[], %s::float8[]) AS answered(job, at) USING (job)
WHERE attempt.sent_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """What the other tenant's jobs waited, in seconds, and the rows that went before them."""

    seconds: list[float]
    overtaken_by: list[int]

    @property
    def p99(self) -> float:
        return quantiles(self.seconds, n=100, method="inclusive")[98]

    def __str__(self) -> str:
        p50 = quantiles(self.seconds, n=2, method="inclusive")[0]
        return (
            f"p50 {p50:.3f} s, p99 {self.p99:.3f} s, longest {max(self.seconds):.3f} s; "
            f"rows of the flood sent in between: at most {max(self.overtaken_by)}"
        )


def measure(stand: Stand, *, rounds: int) -> Report:
    """Both arms on one stack, `rounds` times in turn, each round on a stack of its own."""
    alone, beside = list[Reading](), list[Reading]()
    ratios, goals, notes = list[float](), list[float](), list[str]()
    for number in range(rounds):
        readings = asyncio.run(_round(stand, number))
        (one, calm), (two, flooded) = readings
        alone.append(one)
        beside.append(two)
        ratios.append(calm.p99 / flooded.p99)
        goals.append(GOAL / flooded.p99)
        notes += [f"alone:  {calm}", f"beside: {flooded}"]
    return Report(
        name=f"flood: one tenant's jobs, alone and beside {FLOOD:,} of another",
        unit="jobs",
        contenders=[Contender("alone", alone), Contender("beside the flood", beside)],
        targets=[
            Target(words=f"{GOAL:g} s / p99 beside the flood", at_least=1.0, ratios=goals),
            Target(words="p99 alone / p99 beside the flood", at_least=0.0, ratios=ratios),
        ],
        notes=notes,
    )


async def _round(stand: Stand, number: int) -> list[tuple[Reading, Waits]]:
    environment = stand.environment(
        LONGTAKE_DATA_DIR=str(stand.folder / f"flood-{number}"),
        LONGTAKE_API_PORT="0",
        LONGTAKE_FLOWER_PORT="0",
        LONGTAKE_SIM_PORT="0",
    )
    with psycopg.connect(stand.database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE due, job CASCADE")
    async with running(environment, simulate=True, tell=lambda _: None) as stack:
        database = Database(load(environment).require_database(), connections=2)
        try:
            return [
                await _arm(stand, stack, database, flood=flood, tenant=f"{_OTHER}{flood}")
                for flood in (0, FLOOD)
            ]
        finally:
            await database.close()


async def _arm(
    stand: Stand, stack: Stack, database: Database, *, flood: int, tenant: str
) -> tuple[Reading, Waits]:
    """The other tenant's jobs, until as many as ALONE or until the flood is sent."""
    meter = Meter(Tree(os.getpid()), stand.database)
    with meter:
        async with _client(stack, await _key(database, tenant)) as http:
            flooding = asyncio.create_task(_flood(stack, database, flood))
            answered = dict[str, float]()
            until = time.monotonic() + BOUND
            while len(answered) < ALONE or not await _is_over(flooding, database):
                if time.monotonic() > until:
                    raise NotMeasured(f"the flood was not sent within {BOUND:g} s")
                began = time.monotonic()
                id_ = await _submit(http)
                answered[id_] = time.time()
                await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))
            await flooding
        waits = await _waits(database, answered)
    reading = Reading(
        done=len(answered),
        seconds=meter.seconds,
        cpu_seconds=meter.cpu_seconds,
        database_seconds=meter.database_seconds,
        peak_memory=meter.peak_memory,
    )
    return reading, waits


async def _flood(stack: Stack, database: Database, count: int) -> None:
    left = iter(range(count))

    async def work(http: httpx.AsyncClient) -> None:
        for _ in left:
            await _submit(http)

    async with _client(stack, await _key(database, _FLOODING)) as http:
        await asyncio.gather(*(work(http) for _ in range(CONNECTIONS)))


async def _submit(http: httpx.AsyncClient) -> str:
    body = {"prompt": "a boat on a lake at dawn", "model": "runway-gen3"}
    answer = await http.post(_PATH, json=body)
    if answer.status_code != httpx.codes.ACCEPTED:
        raise NotMeasured(f"a submission was answered with {answer.status_code}: {answer.text}")
    return str(answer.json()["id"])


async def _is_over(flooding: asyncio.Task[None], database: Database) -> bool:
    """Whether every job of the flood is sent."""
    if not flooding.done():
        return False
    await flooding
    found = await database.fetch(
        "SELECT FROM due WHERE what = 'submit' AND tenant = %s LIMIT 1", (_FLOODING,)
    )
    return not found


async def _waits(database: Database, answered: Mapping[str, float]) -> Waits:
    """Waits for the last job to be sent."""
    sent = dict[str, tuple[float, int]]()
    with suppress(TimeoutError):
        async with asyncio.timeout(REST):
            while len(sent) < len(answered):
                sent = await database.run(lambda on: _sent(on, answered))
                await asyncio.sleep(0.1)
    if missing := answered.keys() - sent.keys():
        raise NotMeasured(f"{len(missing)} jobs were not sent within {REST:g} s")
    return Waits(
        # A job may be sent before its 202 is read.
        seconds=[max(0.0, sent[id_][0] - at) for id_, at in answered.items()],
        overtaken_by=[sent[id_][1] for id_ in answered],
    )


async def _sent(
    connection: Connection, answered: Mapping[str, float]
) -> dict[str, tuple[float, int]]:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_SENT, (_FLOODING, [*answered], [*answered.values()]))
    return {id_: (at, count) for id_, at, count in await cursor.fetchall()}


def _client(stack: Stack, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=stack.api_url,
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )


async def _key(database: Database, tenant: str) -> str:
    _, plain = await database.run(lambda connection: create_key(connection, tenant))
    return plain
