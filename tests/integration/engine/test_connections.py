"""Connections: what many rows need leaves some to the work on which all of them depend."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from models.database import Connection, Database, DatabaseAway
from models.verbs import What
from scheduler.claim import lanes_due
from tests.integration.engine.test_pump import LANE, Work, put
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio

CONNECTIONS = 8
#: Of these, a quarter is for what goes first.
SHARED = 6


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url, connections=CONNECTIONS, timeout=20)
    await database.fetch("CREATE TABLE written (id text, worker text)")
    yield database
    await database.close()


class Crowd:
    """More transactions than there are connections, each open until it is let go."""

    def __init__(self, database: Database, *, many: int = 3 * CONNECTIONS) -> None:
        self._may_go = asyncio.Event()
        self.inside = 0
        self._all = [asyncio.create_task(database.run(self._stay)) for _ in range(many)]

    async def _stay(self, connection: Connection) -> None:
        await connection.execute("SELECT 1")
        self.inside += 1
        await self._may_go.wait()

    async def go(self) -> None:
        self._may_go.set()
        await asyncio.gather(*self._all)


@pytest.fixture
async def crowd(database: Database) -> AsyncIterator[Crowd]:
    crowd = Crowd(database)
    await until(lambda: crowd.inside == SHARED)
    yield crowd
    await crowd.go()


async def test_a_crowd_leaves_connections_to_what_goes_first(
    database: Database, crowd: Crowd
) -> None:
    found = await asyncio.gather(
        database.fetch("SELECT 1 AS one", first=True),
        database.run(lanes_due, first=True),
        database.run_statement(lanes_due, first=True),
    )

    assert [len(each) for each in found] == [1, 0, 0]
    assert crowd.inside == SHARED


async def test_a_pump_claims_and_keeps_its_leases_beside_a_crowd(database: Database) -> None:
    # Given rows whose requests hang, and every connection of the others taken
    ids = await put(database, 4)
    crowd = Crowd(database)
    await until(lambda: crowd.inside == SHARED)
    work = Work(database, what=What.POLL, hanging=set(ids))
    pump = work.pump(lane=LANE, lease_seconds=3.0)
    running = asyncio.create_task(pump.run())

    # When time passes
    await work.has_started(4)
    (before,) = await _ends(database)
    await until(lambda: _is_later(database, before))

    # Then the rows were claimed, and their leases are renewed
    assert crowd.inside == SHARED
    await crowd.go()
    await work.release(*ids)
    await running


async def _ends(database: Database) -> list[Any]:
    """When the first lease ends."""
    return [row["at"] for row in await database.fetch("SELECT min(at) AS at FROM due", first=True)]


async def _is_later(database: Database, before: Any) -> bool:
    return bool((await _ends(database))[0] > before)


async def test_whoever_waits_for_too_long_is_told_so(database_url: str) -> None:
    database = Database(database_url, connections=4, timeout=0.05)
    crowd = Crowd(database, many=3)
    await until(lambda: crowd.inside == 3)

    with pytest.raises(DatabaseAway, match=r"no connection was free within 0\.05 s"):
        await database.fetch("SELECT 1")

    await crowd.go()
    await database.close()


async def test_the_fewest_connections_serve_work_that_takes_one_around_others(
    database_url: str,
) -> None:
    database = Database(database_url, connections=2)

    async def outer(connection: Connection) -> list[Any]:
        await connection.execute("SELECT 1")
        return await database.fetch("SELECT 2 AS two")

    found = await asyncio.gather(*(database.run_around_others(outer) for _ in range(6)))

    assert found == [[{"two": 2}]] * 6
    await database.close()
