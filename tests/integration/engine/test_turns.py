"""Webhooks of many tenants: whose turn it is, what a claim costs, and what one tenant may hold."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from models import due
from models.database import Connection, Database
from models.verbs import What
from scheduler.claim import Found, Turn, lanes_due
from scheduler.turns import Claim, Full, claim_in_turns
from tasks.pump.claiming import Place
from tests.integration.engine.test_claim import blocks
from tests.integration.engine.test_pump import Work, put, until_written

pytestmark = pytest.mark.anyio

SLOTS = 64


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.fetch("CREATE TABLE written (id text, worker text)")
    yield database
    await database.close()


async def put_at_hosts(
    database: Database, hosts: int, *, tenant: str, after: float = 0.0
) -> list[str]:
    """One row of the tenant at each of its hosts, whose names sort after all others."""
    rows = [
        due.Row(id=f"{tenant}-{n:05}", lane=f"z-{tenant}-{n:05}.test", tenant=tenant, after=after)
        for n in range(hosts)
    ]
    await database.run(lambda connection: due.put(connection, What.DELIVER, rows))
    return [row.id for row in rows]


async def claimed(
    database: Database,
    *,
    turn: Turn | None = None,
    most: int = SLOTS,
    full: Full | None = None,
) -> Found:
    asked = Claim(
        turn=turn or Turn(),
        most=most,
        each=16,
        full=full or Full(),
        lease=str(uuid4()),
        seconds=30.0,
    )
    return await database.run(lambda c: claim_in_turns(c, What.DELIVER, asked))


async def test_each_claim_has_rows_of_every_tenant(database: Database) -> None:
    await put_at_hosts(database, 500, tenant="a")
    (lone,) = await put(database, 1, lane="b.test", tenant="b", what=What.DELIVER)

    found = await claimed(database)

    assert lone in {row.id for row in found.rows}
    assert len(found.rows) == SLOTS // 2 + 1
    assert found.turn.tenant == ""


async def test_tenants_that_hang_everywhere_leave_slots_to_another(database: Database) -> None:
    dead = await put_at_hosts(database, 300, tenant="z")
    (lone,) = await put(database, 1, lane="a.test", tenant="a", what=What.DELIVER)
    work = Work(database, what=What.DELIVER, each=16, concurrency=SLOTS, hanging=set(dead))
    running = asyncio.create_task(work.pump(lane=None).run())

    await until_written(database, [lone])

    stuck = [thing.id for thing in work.started if thing.id != lone]
    assert len(stuck) <= SLOTS // 4
    later = await put_at_hosts(database, 1, tenant="b")
    await until_written(database, later)
    await work.release(*dead)
    await running


async def test_a_turn_outlives_its_pump(database: Database) -> None:
    tenants = [f"tenant-{n:02}" for n in range(12)]
    for tenant in tenants:
        await put_at_hosts(database, 50, tenant=tenant)
    await database.fetch(
        "INSERT INTO receiver (tenant, host, is_prompt) SELECT tenant, lane, true FROM due"
    )
    place, served = Place(), set[str]()

    for _ in range(3):  # four slots each: three pumps serve twelve tenants
        work = Work(database, what=What.DELIVER, each=16, concurrency=4)
        pump = work.pump(lane=None, seconds=0.0, place=place)
        await pump.run()
        served |= {thing.tenant for thing in work.started}

    assert served == set(tenants)


async def test_a_hosts_only_row_is_found_behind_thousands_of_a_full_host(
    database: Database,
) -> None:
    await put(database, 3000, lane="m-slow.test", tenant="a", what=What.DELIVER)
    await put_at_hosts(database, 400, tenant="a", after=3600.0)
    rows = [due.Row(id="lone", lane="c.test", tenant="a")]
    await database.run(lambda connection: due.put(connection, What.DELIVER, rows))
    full = Full(lanes=[("a", "m-slow.test")])
    found, claims = Found([], Turn()), 0

    while not found.rows:
        found = await claimed(database, turn=found.turn, full=full)
        claims += 1
        assert claims <= 3

    assert [row.id for row in found.rows] == ["lone"]


async def test_a_tenant_that_is_careful_or_full_is_left_out(database: Database) -> None:
    await put_at_hosts(database, 5, tenant="a")
    await put_at_hosts(database, 5, tenant="b")

    only_b = [
        await claimed(database, full=Full(tenants=["a"]), most=2),
        await claimed(database, full=Full(careful=["a"]), most=2),
    ]
    nobody = await claimed(database, full=Full(is_careful=True))

    assert {row.tenant for found in only_b for row in found.rows} == {"b"}
    assert nobody.rows == []


async def _cost(database: Database) -> tuple[int, int]:
    """Blocks that the tick's look and a claim visit."""

    async def work(connection: Connection) -> tuple[int, int]:
        for way in ("seqscan", "bitmapscan", "sort"):  # how a table as small as this may be read
            await connection.execute(f"SET LOCAL enable_{way} = off")
        before = await blocks(connection)
        await lanes_due(connection)
        looked = await blocks(connection)
        asked = Claim(turn=Turn(), most=SLOTS, each=16, lease=str(uuid4()), seconds=30.0)
        found = await claim_in_turns(connection, What.DELIVER, asked)
        assert not found.rows
        return looked - before, await blocks(connection) - looked

    return await database.run(work)


async def test_hosts_of_which_nothing_is_due_cost_neither_the_tick_nor_a_claim_anything(
    database: Database,
) -> None:
    await put_at_hosts(database, 20, tenant="a", after=3600.0)
    await _cost(database)
    few = await _cost(database)
    await put_at_hosts(database, 5000, tenant="a", after=3600.0)

    many = await _cost(database)

    assert many[0] <= few[0] + 20, (few, many)
    assert many[1] <= few[1] + 20, (few, many)
