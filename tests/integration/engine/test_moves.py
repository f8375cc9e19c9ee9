"""Moves of jobs are told after their commit and never before it; work and ticks are counted."""

from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
from psycopg.errors import SerializationFailure, UniqueViolation

from metrics.numbers import Numbers
from models import moves
from models.advance import advance_jobs
from models.database import Connection
from models.moves import Move
from models.state import JobState
from models.ticks import TICK_AGE, note_tick
from tasks import measures
from tests.integration.conftest import MakeEngine
from tests.integration.engine.house import LIFE, ask, housed, run

pytestmark = pytest.mark.anyio


@pytest.fixture
def heard() -> Iterator[list[Move]]:
    made: list[Move] = []

    def listener(some: Sequence[Move]) -> None:
        made.extend(some)

    moves.listen(listener)
    yield made
    moves.forget(listener)


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> Numbers:
    fresh = Numbers(measures.FAMILIES)
    monkeypatch.setattr(measures, "numbers", fresh)
    return fresh


def counted(numbers: Numbers) -> dict[tuple[str, ...], float]:
    """Of each series that was written to, its count."""
    return {
        (family.name, *each.series): sum(each.cells[:-1]) if family.buckets else each.cells[0]
        for family, sums in numbers.read()
        for each in sums
    }


async def test_a_whole_life_is_told_and_counted_once(
    make_engine: MakeEngine, heard: list[Move], numbers: Numbers
) -> None:
    async with housed(make_engine) as house:
        engine = house.start()
        job = await ask(engine)
        await run(engine, *LIFE)

    assert [(move.job, move.state) for move in heard] == [
        (job, state) for state in ("pending", "submitting", "processing", "storing", "complete")
    ]
    assert heard[-1].tenant == "default"
    assert 0 == heard[0].age < heard[1].age < heard[-1].age < 100
    found = counted(numbers)
    assert found["longtake_work", "submit", "runway", "accepted"] == 1
    assert found["longtake_work", "poll", "runway", "succeeded"] == 1
    assert found["longtake_work", "store", "runway", "stored"] == 1
    assert found["longtake_work_duration_seconds", "submit", "runway"] == 1
    assert found["longtake_first_post_seconds", "runway"] == 1
    assert found["longtake_job_duration_seconds", "complete"] == 1
    assert found["longtake_job_moves", "complete"] == 1


def submitting(job: str, *ends: Exception) -> Callable[[Connection], Awaitable[None]]:
    """Work that moves a job; each try raises the next error, and later ones succeed."""
    left = list(ends)

    async def work(connection: Connection) -> None:
        await advance_jobs(connection, JobState.SUBMITTING, [job])
        if left:
            raise left.pop(0)

    return work


async def test_what_is_rolled_back_is_told_to_nobody(
    make_engine: MakeEngine, heard: list[Move]
) -> None:
    engine = make_engine()
    work = submitting(await ask(engine), SerializationFailure(), _Enough())
    heard.clear()

    with pytest.raises(_Enough):
        await engine.database.run(work)
    await engine.database.fetch("SELECT 1")
    assert heard == []


async def test_what_is_tried_again_is_told_once(make_engine: MakeEngine, heard: list[Move]) -> None:
    engine = make_engine()
    job = await ask(engine)
    work = submitting(job, SerializationFailure())
    heard.clear()

    await engine.database.run(work)
    await engine.database.run(work)  # it has moved already
    assert [(move.job, move.state) for move in heard] == [(job, "submitting")]


async def test_a_commit_that_fails_is_told_to_nobody(
    make_engine: MakeEngine, heard: list[Move]
) -> None:
    engine = make_engine()
    job = await ask(engine)
    heard.clear()

    async def fails_at_its_end(connection: Connection) -> None:
        await advance_jobs(connection, JobState.SUBMITTING, [job])
        await connection.execute("CREATE TABLE late (one int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        await connection.execute("INSERT INTO late VALUES (1), (1)")

    with pytest.raises(UniqueViolation):
        await engine.database.run(fails_at_its_end)
    await engine.database.fetch("SELECT 1")
    assert heard == []


class _Enough(Exception):
    """Rolls the transaction back."""


async def test_a_listener_that_fails_fails_nobody(make_engine: MakeEngine) -> None:
    def fails(_: object) -> None:
        raise ValueError

    moves.listen(fails)
    try:
        async with housed(make_engine) as house:
            engine = house.start()
            await ask(engine)
            await run(engine, *LIFE)
            (job,) = await engine.database.fetch("SELECT state FROM job")
            assert job["state"] == "complete"
    finally:
        moves.forget(fails)


async def test_the_age_of_the_tick_is_known(make_engine: MakeEngine) -> None:
    database = make_engine().database
    assert await database.fetch(TICK_AGE) == []

    await database.run(note_tick)
    (tick,) = await database.fetch(TICK_AGE)
    assert 0 <= tick["value"] < 60

    await database.fetch("UPDATE upkeep SET reached_at = reached_at - interval '100 s'")
    (tick,) = await database.fetch(TICK_AGE)
    assert tick["value"] >= 100
    await database.run(note_tick)
    (tick,) = await database.fetch(TICK_AGE)
    assert tick["value"] < 60
