"""Webhooks beside hanging ones: `python -m benchmarks.hanging` prints what another tenant waits.

One tenant has a thousand webhooks at hosts that accept a connection and never answer, and sends 60
events a second to ever new ones; another tenant has one event at a time at a host that answers. The
second table is what the tick and a claim cost beside 100,000 hosts of which nothing is due.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

from benchmarks.stand import standing
from models import due
from models.ids import new_id
from models.rows.deliveries import NewDelivery
from models.state import DeliveryState
from models.verbs import What
from scheduler.claim import Turn, lanes_due
from scheduler.turns import Claim, claim_in_turns
from settings import load
from tasks.announce import announce
from tasks.engine import Engine
from tasks.loop import Runtime
from tasks.pump import running

#: Webhooks that hang at the start, events a second to further ones, and the other tenant's events.
HANGING, FURTHER, EVENTS = 1000, 60, 10
#: Seconds after which an event that was not sent counts as never sent, and between two of them.
NEVER, BETWEEN = 60.0, 3.0
#: Hosts with deliveries of which none is due.
WAITING = 100_000

_OTHER, _FLOODING = "b", "a"


async def _hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(600)
    writer.close()


class Receiver:
    """A host that answers at once, and when each of its events came."""

    def __init__(self) -> None:
        self.came = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        self.came.set()


@asynccontextmanager
async def serving(handle: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, "0.0.0.0", 0, backlog=4096)  # noqa: S104 - all of 127.0.0.0/8
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _announce(engine: Engine, tenant: str, hosts: list[str]) -> None:
    deliveries = [
        NewDelivery(
            id=new_id("evt"),
            job=None,
            batch=None,
            tenant=tenant,
            type="batch.completed",
            host=host,
            state=DeliveryState.PENDING,
            target=engine.vault.seal_json({"url": f"http://{host}/", "secret": None}),
            body=engine.vault.seal(b"{}"),
        )
        for host in hosts
    ]
    await engine.database.run(lambda connection: announce(connection, deliveries))


def _hosts(first: int, count: int, port: int) -> list[str]:
    return [
        f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:{port}"
        for n in range(first, first + count)
    ]


async def pump_once(engine: Engine) -> None:
    """One pump of deliveries, until nothing is due for a while."""
    await running._pump(cast("Runtime", _Process(engine)), What.DELIVER, None)  # noqa: SLF001


async def _pumping(engine: Engine) -> None:
    """What the tick and Celery do: a hint a second, each in a slot of its own."""
    async with asyncio.TaskGroup() as slots:
        while True:
            slots.create_task(pump_once(engine))
            await asyncio.sleep(1)


class _Process:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine


async def _flooding(engine: Engine, port: int) -> None:
    count = HANGING
    while True:
        await _announce(engine, _FLOODING, _hosts(count, FURTHER, port))
        count += FURTHER
        await asyncio.sleep(1)


async def _waits(engine: Engine) -> list[float | None]:
    """Seconds from each event of the other tenant to its arrival; None if it never came."""
    receiver = Receiver()
    waits: list[float | None] = []
    async with serving(_hang) as dead, serving(receiver.answer) as alive:
        await _announce(engine, _FLOODING, _hosts(0, HANGING, dead))
        others = [
            asyncio.create_task(_pumping(engine)),
            asyncio.create_task(_flooding(engine, dead)),
        ]
        await asyncio.sleep(BETWEEN)
        for _ in range(EVENTS):
            receiver.came.clear()
            began = time.monotonic()
            await _announce(engine, _OTHER, [f"127.0.0.1:{alive}"])
            try:
                await asyncio.wait_for(receiver.came.wait(), NEVER)
            except TimeoutError:
                waits.append(None)
                break
            waits.append(time.monotonic() - began)
            await asyncio.sleep(BETWEEN)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    return waits


async def _beside_waiting_hosts(engine: Engine) -> tuple[float, float]:
    """Milliseconds of a tick's look and of a claim; medians of five."""
    await engine.database.fetch("DELETE FROM due")
    rows = [
        due.Row(id=f"evt-{n}", lane=f"host-{n}.test", tenant=_FLOODING, after=3600.0)
        for n in range(WAITING)
    ]
    await engine.database.run(lambda connection: due.put(connection, What.DELIVER, rows))
    await engine.database.fetch("ANALYZE due")

    async def look() -> None:
        await engine.database.run(lanes_due)

    async def take() -> None:
        await engine.database.run(
            lambda connection: claim_in_turns(
                connection,
                What.DELIVER,
                Claim(turn=Turn(), most=500, each=16, lease=str(uuid4()), seconds=30.0),
            )
        )

    return await _median(look), await _median(take)


async def _median(work: Callable[[], Awaitable[None]]) -> float:
    seconds = []
    for _ in range(6):
        began = time.monotonic()
        await work()
        seconds.append(time.monotonic() - began)
    return 1000 * statistics.median(seconds[1:])


async def _measure(engine: Engine) -> None:
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('a'), ('b')")
    look, take = await _beside_waiting_hosts(engine)
    print(f"{WAITING:,} hosts, nothing due: tick {look:.1f} ms, claim {take:.1f} ms")
    await engine.database.fetch("DELETE FROM due")
    waits = await _waits(engine)
    shown = ", ".join(f"{wait:.2f}" if wait is not None else f"over {NEVER:g}" for wait in waits)
    print(
        f"{HANGING:,} hanging webhooks and {FURTHER}/s more; another tenant's waits in s: {shown}"
    )


def main() -> None:
    with standing() as stand:
        environment = stand.environment(LONGTAKE_ALLOW_PRIVATE_HOSTS="127.0.0.0/8")
        engine = Engine.build(load(environment))

        async def work() -> None:
            try:
                await _measure(engine)
            finally:
                await engine.close()

        asyncio.run(work())


if __name__ == "__main__":
    print(datetime.now(UTC).isoformat(timespec="seconds"), file=sys.stderr)
    main()
