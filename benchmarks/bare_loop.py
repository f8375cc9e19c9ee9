"""The limit: one loop that polls as fast as a client can and writes news in batches.

    python -m benchmarks.bare_loop aiohttp|getter

No claims, no schedule, no adapter: one field read per response. Each line on standard input
(operation id prefix, number of operations, seconds) is one run, answered by its number of polls.
"""

import asyncio
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

import psycopg
import uvloop

from benchmarks.rows import ids_of
from providers.registry import vendor_variables
from settings import current
from transport.base import Request, Sender
from transport.fast import FastClient
from transport.getter import Getter

#: As in workers: concurrent requests, and rows per UPDATE.
CONCURRENCY, BATCH = 64, 500

CLIENTS: dict[str, Callable[[], Sender]] = {"aiohttp": FastClient.trusted, "getter": Getter}

#: An attempt's id and its progress.
Seen = tuple[str, float]


async def _serve(name: str) -> None:
    client: Sender = CLIENTS[name]()
    database = await psycopg.AsyncConnection.connect(current().require_database(), autocommit=True)
    async with database:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while line := await asyncio.to_thread(sys.stdin.readline):
            prefix, count, seconds = line.split()
            turns = itertools.cycle(ids_of(prefix, int(count)))
            run = _Run(client, database, turns=turns, until=monotonic() + float(seconds))
            await run.to_its_end()
            sys.stdout.write(f"{run.polls}\n")
            sys.stdout.flush()
    await client.close()


@dataclass(slots=True)
class _Run:
    client: Sender
    database: psycopg.AsyncConnection
    turns: Iterator[tuple[str, str]] = field(kw_only=True)
    until: float = field(kw_only=True)
    polls: int = 0
    _news: list[Seen] = field(default_factory=list)
    _batches: asyncio.Queue[list[Seen] | None] = field(
        default_factory=lambda: asyncio.Queue(maxsize=4)
    )

    async def to_its_end(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write())
            async with asyncio.TaskGroup() as pollers:
                for _ in range(CONCURRENCY):
                    pollers.create_task(self._poll())
            await self._batches.put(self._news)
            await self._batches.put(None)

    async def _poll(self) -> None:
        base, headers = _vendor()
        while monotonic() < self.until:
            attempt, operation = next(self.turns)
            request = Request(method="GET", url=f"{base}/v1/tasks/{operation}", headers=headers)
            progress = (await self.client.send(request)).json().get("progress")
            self.polls += 1
            if progress is None:
                continue
            self._news.append((attempt, progress))
            if len(self._news) >= BATCH:
                batch, self._news = self._news, []
                await self._batches.put(batch)

    async def _write(self) -> None:
        while (batch := await self._batches.get()) is not None:
            await self.database.execute(
                """
                UPDATE attempt SET progress = seen.progress, polls = polls + 1
                FROM unnest(%s::text[], %s::float8[]) AS seen(id, progress)
                WHERE attempt.id = seen.id
                """,
                ([attempt for attempt, _ in batch], [progress for _, progress in batch]),
            )


def _vendor() -> tuple[str, dict[str, str]]:
    vendor = vendor_variables(current())
    return vendor["RUNWAYML_BASE_URL"].get_secret_value(), {
        "accept": "application/json",
        "authorization": f"Bearer {vendor['RUNWAYML_API_SECRET'].get_secret_value()}",
        "x-runway-version": "2024-11-06",
    }


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
