"""The limit: one loop that polls as fast as the client can and writes results in batches.

    python -m benchmarks.bare_loop seam|aiohttp

No claims, no guard, one field read per response. `seam` uses the pump's client, `aiohttp` the
library below it. Each line on standard input (operation id prefix, number of operations, seconds)
is one run, answered by one line.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from time import monotonic

import aiohttp
import psycopg
import uvloop

from benchmarks.rows import ids_of
from providers.registry import vendor_variables
from settings import current
from transport.base import Request
from transport.fast import FastClient

#: As in the pump: concurrent requests, and rows per UPDATE.
CONCURRENCY, BATCH = 64, 500

#: Polls a task by operation id; returns the response body.
Look = Callable[[str], Awaitable[bytes]]
#: An attempt's id and its progress.
Seen = tuple[str, float]


async def _serve(client: str) -> None:
    open_client = {"seam": _seam, "aiohttp": _aiohttp}[client]
    database = await psycopg.AsyncConnection.connect(current().require_database(), autocommit=True)
    async with database, open_client() as look:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await asyncio.to_thread(sys.stdin.readline):
            prefix, count, seconds = line.split()
            ids = ids_of(prefix, int(count))
            await _run(look, database, ids=ids, until=monotonic() + float(seconds))
            sys.stdout.write("done\n")
            sys.stdout.flush()


async def _run(
    look: Look, database: psycopg.AsyncConnection, *, ids: Iterator[tuple[str, str]], until: float
) -> None:
    batches: asyncio.Queue[list[Seen] | None] = asyncio.Queue(maxsize=4)
    turns = itertools.cycle(ids)
    async with asyncio.TaskGroup() as group:
        group.create_task(_write(database, batches))
        async with asyncio.TaskGroup() as pollers:
            seen: list[Seen] = []
            for _ in range(CONCURRENCY):
                pollers.create_task(_poll(look, turns, seen, batches, until=until))
        await batches.put(seen)
        await batches.put(None)


async def _poll(
    look: Look,
    turns: Iterator[tuple[str, str]],
    seen: list[Seen],
    batches: asyncio.Queue[list[Seen] | None],
    *,
    until: float,
) -> None:
    while monotonic() < until:
        attempt, operation = next(turns)
        task = json.loads(await look(operation))
        seen.append((attempt, task["progress"]))
        if len(seen) >= BATCH:
            batch = seen[:]
            seen.clear()
            await batches.put(batch)


async def _write(
    database: psycopg.AsyncConnection, batches: asyncio.Queue[list[Seen] | None]
) -> None:
    while (batch := await batches.get()) is not None:
        await database.execute(
            """
            UPDATE attempt SET progress = seen.progress, polls = polls + 1
            FROM unnest(%s::text[], %s::float8[]) AS seen(id, progress)
            WHERE attempt.id = seen.id
            """,
            ([attempt for attempt, _ in batch], [progress for _, progress in batch]),
        )


@asynccontextmanager
async def _seam() -> AsyncIterator[Look]:
    base, headers = _vendor()
    client = FastClient.trusted()

    async def look(operation: str) -> bytes:
        request = Request(method="GET", url=f"{base}/v1/tasks/{operation}", headers=headers)
        return (await client.send(request)).content

    yield look
    await client.close()


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[Look]:
    base, headers = _vendor()
    async with aiohttp.ClientSession(headers=headers) as session:

        async def look(operation: str) -> bytes:
            async with session.get(f"{base}/v1/tasks/{operation}") as answer:
                return await answer.read()

        yield look


def _vendor() -> tuple[str, dict[str, str]]:
    vendor = vendor_variables(current())
    return vendor["RUNWAYML_BASE_URL"].get_secret_value(), {
        "accept": "application/json",
        "authorization": f"Bearer {vendor['RUNWAYML_API_SECRET'].get_secret_value()}",
        "x-runway-version": "2024-11-06",
    }


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
