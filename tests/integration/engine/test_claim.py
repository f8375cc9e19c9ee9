"""Claims and the tick's look, whatever dead entries an old snapshot keeps in the index."""

from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from models import due
from models.database import Connection, Database
from models.snapshots import old_snapshots
from models.verbs import What
from scheduler.claim import Found, Turn, claim, lanes_due

pytestmark = pytest.mark.anyio

LANE, ROWS = "lane", 50
SOON = [-0.001] * ROWS


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    rows = [due.Row(id=f"row-{n:03}", lane=LANE, tenant=f"tenant-{n % 3}") for n in range(ROWS)]
    await database.run(lambda connection: due.put(connection, What.POLL, rows))
    # A planner reads the first block of an empty index again and again.
    later = [due.Row(id="later", lane="host.test", tenant="tenant-0", after=7200.0)]
    await database.run(lambda connection: due.put(connection, What.DELIVER, later))
    yield database
    await database.close()


async def claimed(database: Database, after: Found | None = None, **options: object) -> Found:
    place = {"turn": after.turn, "floor": after.floor} if after else {"turn": Turn()}
    given = {"lane": LANE, "most": ROWS, "each": ROWS, "seconds": 30.0, "lease": str(uuid4())}
    return await database.run(
        lambda connection: claim(connection, What.POLL, **given | place | options)  # type: ignore[arg-type]
    )


async def put_back(database: Database, found: Found) -> None:
    ids = [row.id for row in found.rows]
    await database.run(lambda c: due.put_back(c, What.POLL, ids, after=SOON[: len(ids)]))


async def blocks(connection: Connection) -> int:
    """Blocks of the table and its indexes that this connection has visited lately."""
    cursor = await connection.execute(
        """
        SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::int AS n FROM pg_class
        WHERE oid = 'due'::regclass
           OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'due'::regclass)
        """
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


async def cost_of(database: Database, **options: object) -> int:
    """Blocks that a claim of one row visits."""
    given = {"lane": LANE, "turn": Turn(), "most": 1, "each": 1, "seconds": 30.0}

    async def work(connection: Connection) -> int:
        for way in ("seqscan", "bitmapscan", "sort"):  # how a table as small as this may be read
            await connection.execute(f"SET LOCAL enable_{way} = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        before = await blocks(connection)
        await claim(connection, What.POLL, lease=str(uuid4()), **given | options)  # type: ignore[arg-type]
        return await blocks(connection) - before

    return await database.run(work)


async def test_a_floor_leaves_out_what_came_up_before_it(database: Database) -> None:
    first = await claimed(database, most=9)
    assert first.floor is not None
    await database.fetch("UPDATE due SET at = now() - interval '1 hour' WHERE id = 'row-049'")

    blind = await claimed(database, first)
    full = await claimed(database)

    assert "row-049" not in {row.id for row in blind.rows}
    assert [row.id for row in full.rows] == ["row-049"]
    assert len(blind.rows) == ROWS - 9 - 1


async def test_a_floor_hides_nothing_that_was_due_when_it_was_found(database: Database) -> None:
    ids, found = set[str](), None
    while not ids or (found and found.rows):
        found = await claimed(database, found, most=7)
        ids |= {row.id for row in found.rows}

    assert len(ids) == ROWS


async def test_a_claim_that_is_not_of_all_tenants_gives_no_floor(database: Database) -> None:
    assert (await claimed(database, most=2)).floor is None


async def test_dead_entries_that_a_snapshot_keeps_are_not_walked_over(
    database: Database, database_url: str
) -> None:
    # Given rows that were claimed and put back many times while somebody reads in one transaction
    with psycopg.connect(database_url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM due")
        found: Found | None = None
        for _ in range(60):
            found = await claimed(database, found)
            await put_back(database, found)

        # Then a claim below its floor reads them all, and one above it next to none
        assert found is not None
        assert found.floor is not None
        await database.fetch("UPDATE due SET at = now() + interval '1 hour'")
        with_floor = await cost_of(database, floor=(await _now(database)))
        without = await cost_of(database)

        # And whoever reads is told of
        (old,) = await database.run(lambda c: old_snapshots(c, older_than=0.0))
    assert with_floor * 10 < without, (with_floor, without)
    assert old.holder.startswith("pid ")
    assert await database.run(old_snapshots) == []


async def test_the_tick_finds_polls_that_came_up_lately_and_at_times_all(
    database: Database,
) -> None:
    rows = [due.Row(id="forgotten", lane="other", tenant="tenant")]
    for what in (What.POLL, What.SUBMIT):
        await database.run(lambda connection, what=what: due.put(connection, what, rows))  # type: ignore[misc]
    await database.fetch("UPDATE due SET at = now() - interval '1 hour' WHERE id = 'forgotten'")

    lately = await database.run(lambda connection: lanes_due(connection, within=20.0))
    ever = await database.run(lanes_due)

    assert set(lately) == {(What.POLL, LANE), (What.SUBMIT, "other")}
    assert set(ever) == {*lately, (What.POLL, "other")}


async def _now(database: Database) -> object:
    (row,) = await database.fetch("SELECT now() AS now")
    return row["now"]
