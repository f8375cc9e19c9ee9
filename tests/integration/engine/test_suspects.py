"""Rows that kill their workers, raise or can't be read: each alone bears what it does."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from models.database import Connection, Database
from scheduler.claim import SUSPECT, Claimed
from tasks.pump.parking import FIRST_WAIT, PARKED
from tasks.pump.pump import POISON_TRIES
from tasks.verbs.verb import Hold
from tests.integration.engine.test_pump import Thing, Work, end_leases, put, written
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Tracebacks are not printed: with the values of all variables that takes seconds each."""
    with capture_logs():
        yield


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.fetch("CREATE TABLE written (id text, worker text)")
    yield database
    await database.close()


class Killed(BaseException):
    """The worker is gone: nothing of what it claimed is handed back."""


@dataclass(slots=True)
class Trouble(Work):
    """Work on rows of which some make trouble."""

    #: Kill the worker that has claimed them.
    deadly: set[str] = field(default_factory=set)
    #: Raise when they are loaded, when they are worked on, and when their end is written.
    unreadable: set[str] = field(default_factory=set)
    raising: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    #: The ids of each load, in order.
    loaded: list[list[str]] = field(default_factory=list)

    async def load(self, claimed: Sequence[Claimed]) -> list[Thing]:
        ids = [row.id for row in claimed]
        self.loaded.append(ids)
        if self.deadly & set(ids):
            raise Killed
        if self.unreadable & set(ids):
            raise ValueError
        return await Work.load(self, claimed)

    async def act(self, item: Any, hold: Hold) -> Any:
        if item.id in self.raising:
            raise ZeroDivisionError
        return await Work.act(self, item, hold)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        if self.stuck & set(ids):
            raise KeyError
        await Work.give_up(self, connection, ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A due row as a pump has left it."""

    is_leased: bool
    tries: int
    faults: int
    wait: float


async def left(database: Database, id_: str) -> Left:
    (row,) = await database.fetch(
        """
        SELECT lease IS NOT NULL AS is_leased, tries, faults,
               extract(epoch FROM at - now())::float8 AS wait FROM due WHERE id = %s
        """,
        (id_,),
    )
    return Left(**row)


async def killed(work: Trouble) -> None:
    """A worker that dies as soon as it has claimed something, found when its lease has ended."""
    with pytest.raises(BaseExceptionGroup) as raised:
        await work.pump(seconds=2.0).run()
    assert raised.group_contains(Killed)
    await end_leases(work.database)


async def test_what_kills_its_workers_is_found_alone_and_parked_and_all_else_is_done(
    database: Database,
) -> None:
    deadly, *fine = await put(database, 30)
    work = Trouble(database, deadly={deadly})
    # Given a row that kills every worker that claims it, until it is a suspect, as are all others
    for _ in range(SUSPECT):
        await killed(work)
    assert [len(claimed) for claimed in work.loaded] == [30] * SUSPECT

    # When workers go on, each with one suspect after another
    for _ in range(POISON_TRIES - SUSPECT):
        await killed(work)
    await work.pump(seconds=2.0).run()

    # Then nobody was with it any more, the others are done, and it is parked, not given up
    assert all(len(claimed) == 1 for claimed in work.loaded[SUSPECT:])
    assert set(await written(database)) == set(fine)
    row = await left(database, deadly)
    assert not row.is_leased
    assert PARKED <= row.wait + 30 <= PARKED * 1.2

    # And when it is harmless at last, it is done like any other
    work.deadly.clear()
    await end_leases(database)
    await work.pump(seconds=0.05).run()
    assert deadly in await written(database)


async def test_a_parked_row_that_kills_again_waits_for_twice_as_long_up_to_an_hour(
    database: Database,
) -> None:
    (id_,) = await put(database, 1)
    await database.fetch("UPDATE due SET tries = %s", (POISON_TRIES,))
    work, waits = Trouble(database), list[float]()
    for _ in range(6):
        await work.pump(seconds=0.05).run()  # finds it poison
        waits.append((await left(database, id_)).wait)
        await end_leases(database)
        work.deadly = {id_}
        await killed(work)
        work.deadly = set()

    assert all(0.95 < wait / (PARKED * 2**n) < 1.15 for n, wait in enumerate(waits[:4]))
    assert all(3500 < wait < 4000 for wait in waits[4:])
    assert work.started == []


async def test_healthy_rows_flow_around_suspects_and_suspects_get_their_turn(
    database: Database,
) -> None:
    """A suspect that hangs holds up neither the healthy ones nor the next pump."""
    healthy, suspects = await put(database, 200), await put(database, 3, tenant="unlucky")
    await database.fetch("UPDATE due SET tries = 3 WHERE tenant = 'unlucky'")
    first, *_ = suspects
    work = Work(database, hanging=set(suspects))
    running = asyncio.create_task(work.pump(seconds=5.0).run())

    # The healthy ones are done before any suspect begins, and one suspect hangs alone
    await until(lambda: bool({thing.id for thing in work.started} & set(suspects)))
    assert set(await written(database)) == set(healthy)
    more = await put(database, 50, tenant="late")
    await work.pump(seconds=0.05).run()
    assert set(await written(database)) == {*healthy, *more}
    assert len({thing.id for thing in work.started} & set(suspects)) == 1

    await work.release(*suspects)
    await running
    assert set(await written(database)) == {*healthy, *more, *suspects}
    assert first in await written(database)


async def test_a_lane_that_was_told_to_pause_leaves_its_suspects_to_a_later_pump(
    database: Database,
) -> None:
    (healthy,), (suspect,) = await put(database, 1), await put(database, 1, tenant="unlucky")
    await database.fetch("UPDATE due SET tries = 3 WHERE id = %s", (suspect,))

    class Limited(Work):
        async def act(self, item: Any, hold: Hold) -> Any:
            hold.pace.was_limited(30.0)
            return await super().act(item, hold)

    work = Limited(database)
    async with asyncio.timeout(10):
        await work.pump(seconds=0.05).run()

    assert [thing.id for thing in work.started] == [healthy]
    row = await left(database, suspect)
    assert (row.is_leased, row.tries) == (False, 3)
    assert row.wait < 0


async def test_work_that_raises_is_put_off_alone_for_longer_each_time(database: Database) -> None:
    """Our own mistake in one row neither stops the others nor takes a lease's time."""
    bad, good = await put(database, 2)
    work = Trouble(database, raising={bad})
    for number in range(4):
        await work.pump(seconds=0.01).run()
        row = await left(database, bad)
        assert (row.is_leased, row.tries, row.faults) == (False, 0, number + 1)
        assert 0.9 < row.wait / (FIRST_WAIT * 2**number) < 1.15
        await end_leases(database)
    await work.pump(seconds=0.01).run()

    assert set(await written(database)) == {good}
    assert (await left(database, bad)).wait > PARKED - 30
    # And once it goes well again, it has a clean slate
    work.raising.clear()
    await end_leases(database)
    await work.pump(seconds=0.01).run()
    assert set(await written(database)) == {good, bad}


async def test_a_row_that_can_not_be_loaded_takes_no_other_with_it(database: Database) -> None:
    bad, *fine = await put(database, 20)
    work = Trouble(database, unreadable={bad})

    tally = await work.pump(seconds=0.05).run()

    assert set(await written(database)) == set(fine)
    assert (tally.written, tally.failed) == (19, 1)
    assert (await left(database, bad)).faults == 1


async def test_an_end_that_can_not_be_written_parks_the_row_and_stops_nobody(
    database: Database,
) -> None:
    stuck, *fine = await put(database, 20)
    await database.fetch("UPDATE due SET tries = %s WHERE id = %s", (POISON_TRIES, stuck))
    work = Trouble(database, stuck={stuck})

    await work.pump(seconds=0.05).run()

    assert set(await written(database)) == set(fine)
    assert work.given_up == []
    row = await left(database, stuck)
    assert not row.is_leased
    assert row.wait > PARKED - 30
