"""Two transactions on one job, one of them stopped before each of its statements: both get through.

Whoever is stopped holds some locks already; the other goes on until it is done or waits, and then
both run to their ends. A pair that locks rows in different orders is a deadlock at some step.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from psycopg import errors, sql

from models.advance import advance_jobs
from models.database import Connection
from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from tasks.deliveries import _make_due as replay_delivery
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.view import progress_percent, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, kind_of, said, video
from tests.integration.engine.waiting import until
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

#: More steps than any of these transactions has.
MOST_STEPS = 60
#: Who watches for waiting transactions must not count itself.
_WAITING = """
SELECT count(*)::int AS n FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@dataclass(slots=True)
class Stop:
    """Keeps one engine's transactions waiting before step `at`: a statement, or a commit."""

    at: int
    taken: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self) -> None:
        number, self.taken = self.taken, self.taken + 1
        if number == self.at:
            self.reached.set()
            await self.go_on.wait()


@dataclass(slots=True)
class World:
    """One database with two workers, of which the first can be stopped."""

    first: Engine
    second: Engine
    watcher: Engine
    #: What the next poll says.
    word: str = "SUCCEEDED"
    stop: Stop = field(default_factory=lambda: Stop(at=-1))
    #: Transactions that PostgreSQL broke off.
    broken: int = 0

    async def reply(self, request: Request) -> Response:
        match kind_of(request):
            case "submit":
                return said(200, {"id": f"op-{id(request)}"})
            case "poll":
                task = {"id": "x", "status": self.word, "createdAt": "2026-01-01T00:00:00Z"}
                extra: dict[str, Any] = {"progress": 0.4} if self.word == "RUNNING" else {}
                done = {"output": ["https://links.test/film.mp4"]}
                return said(200, task | extra | (done if self.word == "SUCCEEDED" else {}))
            case "cancel":
                return Response(status=204, headers={}, content=b"")
            case "download":
                return Response(status=200, headers={}, content=video())
            case _:
                return said(500, {})

    def watch(self, engine: Engine, *, stops: bool) -> None:
        """Count what is broken off and, of the first worker, every step."""
        real = engine.database.transaction

        @asynccontextmanager
        async def transaction() -> AsyncIterator[Connection]:
            try:
                async with real() as connection:
                    if not stops:
                        yield connection
                        return
                    execute = connection.execute

                    async def one_step(*arguments: Any, **options: Any) -> Any:
                        await self.stop.step()
                        return await execute(*arguments, **options)

                    connection.execute = one_step  # type: ignore[method-assign]
                    try:
                        yield connection
                        await self.stop.step()
                    finally:
                        del connection.execute
            except errors.DeadlockDetected:
                self.broken += 1
                raise

        engine.database.transaction = transaction  # type: ignore[method-assign]

    async def somebody_waits(self) -> bool:
        (row,) = await self.watcher.database.fetch(_WAITING)
        return bool(row["n"])

    async def clear(self) -> None:
        await self.watcher.database.fetch("DELETE FROM job")
        await self.watcher.database.fetch("DELETE FROM due")


@pytest.fixture
async def world(make_engine: MakeEngine, anyio_backend: str) -> AsyncIterator[World]:
    watcher = make_engine()
    (row,) = await watcher.database.fetch("SELECT current_database() AS name")
    # Found at once, instead of after a second.
    quick = sql.SQL("ALTER DATABASE {} SET deadlock_timeout = '20ms'")
    await watcher.database.run(lambda c: c.execute(quick.format(sql.Identifier(row["name"]))))
    world = World(first=watcher, second=watcher, watcher=watcher)
    far_side = FarSide(world.reply)
    world.first, world.second = facing(make_engine(), far_side), facing(make_engine(), far_side)
    world.watch(world.first, stops=True)
    world.watch(world.second, stops=False)
    yield world
    for engine in (world.first, world.second, world.watcher):
        await engine.close()


# -- stages of a job ------------------------------------------------------------------------------


async def planned(world: World) -> str:
    fields = {"prompt": "a cat", "model": "gen4.5", "count": 2, "webhook_url": "https://hook.test/"}
    request = VideoRequest.from_json(fields)
    return (await accept(world.watcher, request, tenant="default")).job_id


async def sent(world: World) -> str:
    job = await planned(world)
    database = world.watcher.database
    await database.fetch("UPDATE attempt SET state = 'sent', sent_at = now(), payload_hash = 'x'")
    await database.run(lambda c: advance_jobs(c, JobState.SUBMITTING, [job]))
    return job


async def running(world: World) -> str:
    job = await sent(world)
    for number, id_ in enumerate(await attempts(world)):
        await record_accepted(world.watcher, id_, Accepted(operation_id=f"op-{number}"))
    return job


async def ready(world: World) -> str:
    job = await running(world)
    await pumped(world, facing(world.watcher, FarSide(world.reply)), What.POLL)
    return job


async def ended(world: World) -> str:
    job = await running(world)
    await cancelled(world, world.watcher, job)
    return job


async def attempts(world: World) -> list[str]:
    return [
        r["id"] for r in await world.watcher.database.fetch("SELECT id FROM attempt ORDER BY id")
    ]


# -- what is done to it ---------------------------------------------------------------------------


async def pumped(world: World, engine: Engine, what: What) -> None:
    fetch = world.watcher.database.fetch
    await fetch("UPDATE due SET at = now() - interval '1 s' WHERE what = %s", (what,))
    await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def submitted(world: World, engine: Engine, job: str) -> None:
    await pumped(world, engine, What.SUBMIT)


async def polled(world: World, engine: Engine, job: str) -> None:
    await pumped(world, engine, What.POLL)


async def polled_running(world: World, engine: Engine, job: str) -> None:
    world.word = "RUNNING"
    await pumped(world, engine, What.POLL)


async def polled_failed(world: World, engine: Engine, job: str) -> None:
    world.word = "FAILED"
    await pumped(world, engine, What.POLL)


async def stored(world: World, engine: Engine, job: str) -> None:
    await pumped(world, engine, What.STORE)


async def delivered(world: World, engine: Engine, job: str) -> None:
    await pumped(world, engine, What.DELIVER)


async def cancelled(world: World, engine: Engine, job: str) -> None:
    await engine.database.run(lambda c: finish(engine, c, JobState.CANCELLED, [job]))


async def expired(world: World, engine: Engine, job: str) -> None:
    await world.watcher.database.fetch("UPDATE job SET deadline_at = now()")
    await pumped(world, engine, What.EXPIRE)


async def replayed(world: World, engine: Engine, job: str) -> None:
    (row,) = await world.watcher.database.fetch("SELECT id FROM delivery")
    await engine.database.run(lambda c: replay_delivery(c, row["id"], tenant="default"))


Stage = Callable[[World], Awaitable[str]]
Deed = Callable[[World, Engine, str], Coroutine[Any, Any, None]]

PAIRS: list[tuple[Stage, Deed, Deed]] = [
    (planned, submitted, cancelled),
    (running, polled_running, cancelled),
    (running, polled, cancelled),
    (running, polled, expired),
    (running, polled_failed, cancelled),
    (ready, stored, cancelled),
    (ready, stored, expired),
    (ended, delivered, replayed),
]


def _name(pair: Any) -> str:
    return " ".join(getattr(part, "__name__", str(part)) for part in pair)


@pytest.mark.parametrize("pair", PAIRS, ids=_name)
@pytest.mark.parametrize("turned", [False, True], ids=["straight", "turned"])
async def test_no_two_transactions_lock_each_other_out(
    world: World, pair: tuple[Stage, Deed, Deed], *, turned: bool
) -> None:
    stage, one, other = pair
    stopped, free = (other, one) if turned else (one, other)
    broken: list[int] = []
    for step in range(MOST_STEPS):
        job = await _at(world, stage)
        world.stop = Stop(at=step)
        first = asyncio.create_task(stopped(world, world.first, job))
        is_stopped = await _stopped_or_done(world, first)
        second = asyncio.create_task(free(world, world.second, job))

        async def second_is_done_or_waits(second: asyncio.Task[None] = second) -> bool:
            return second.done() or await world.somebody_waits()

        await until(second_is_done_or_waits)
        world.stop.go_on.set()
        async with asyncio.timeout(20):
            await asyncio.gather(first, second)
        if world.broken:
            broken.append(step)
        assert await world.watcher.database.run(violations) == []
        if not is_stopped:
            break
    assert step > 1, "nothing was stopped"
    assert broken == [], f"deadlocks when stopped before these of {step} steps"


async def _at(world: World, stage: Stage) -> str:
    await world.clear()
    world.word, world.broken, world.stop = "SUCCEEDED", 0, Stop(at=-1)
    job = await stage(world)
    world.word = "SUCCEEDED"
    return job


async def _stopped_or_done(world: World, task: asyncio.Task[None]) -> bool:
    """Whether it stands before its step; False when it is done and had no such step."""
    reached = asyncio.create_task(world.stop.reached.wait())
    async with asyncio.timeout(20):
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    return world.stop.reached.is_set()


async def test_a_poll_of_what_goes_on_waits_for_no_lock_of_a_job(world: World) -> None:
    job = await _at(world, running)
    async with world.watcher.database.transaction() as connection:
        await connection.execute("SELECT 1 FROM job WHERE id = %s FOR UPDATE", (job,))
        poll = asyncio.create_task(polled_running(world, world.second, job))
        await asyncio.wait({poll}, timeout=3)
        assert poll.done(), "the poll waits for the job's lock"
        rows = await world.second.database.fetch("SELECT polls FROM attempt")
        # The job's progress is its attempts'.
        (shown,) = await world.second.database.run(lambda c: read_jobs(c, [job]))
    assert [row["polls"] for row in rows] == [1, 1]
    assert progress_percent(shown) == 40
