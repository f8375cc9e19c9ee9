"""One tenant's flood on a lane: another's row is started at the next free place."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from models.database import Database
from models.verbs import What
from tasks.pump.pump import Pump
from tests.integration.engine.test_pump import LANE, Work, put, until_written
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio

FLOOD = 2_000
#: As the verb `submit` has them.
AT_ONCE, EACH = 16, 64


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.fetch("CREATE TABLE written (id text, worker text)")
    yield database
    await database.close()


def flooded(database: Database, ids: list[str]) -> Work:
    """A worker at which all rows of the flood hang until they are released."""
    return Work(
        database, what=What.SUBMIT, concurrency=AT_ONCE, each=EACH, hanging=set(ids), abandons=False
    )


async def leased(database: Database, tenant: str) -> int:
    (row,) = await database.fetch(
        "SELECT count(*)::int AS n FROM due WHERE tenant = %s AND lease IS NOT NULL", (tenant,)
    )
    return int(row["n"])


async def is_full(work: Work, pump: Pump) -> None:
    """Until the pump works on as many rows as it may and has claimed ahead."""
    await work.has_started(AT_ONCE)
    await until(lambda: pump.tally.claimed >= EACH)


async def test_a_row_that_comes_after_a_flood_is_started_at_the_next_free_place(
    database: Database,
) -> None:
    # Given a pump that works on 16 rows of 2,000 and has claimed more
    flood = await put(database, FLOOD, tenant="a", what=What.SUBMIT)
    work = flooded(database, flood)
    pump = work.pump(lane=LANE)
    running = asyncio.create_task(pump.run())
    await is_full(work, pump)
    held = await leased(database, "a")
    # When another tenant's row is committed, and its hint comes
    (lone,) = await put(database, 1, tenant="b", what=What.SUBMIT)
    pump.wake()

    async def is_claimed() -> bool:
        return await leased(database, "b") == 1

    await until(is_claimed)
    # Then the hint claims that row and none of the flood, and the row starts before the others
    assert await leased(database, "a") == held
    await work.release(work.started[0].id)
    await until_written(database, [lone])
    started = [thing.id for thing in work.started]
    assert started.index(lone) == AT_ONCE
    await work.release(*flood)
    await running
