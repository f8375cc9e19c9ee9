"""How the chaos run counts what a quiet tenant waits for: claims that pass its row over."""

from collections.abc import AsyncIterator
from datetime import datetime

import psycopg
import pytest

from models import due
from models.database import Database
from models.verbs import What
from scheduler.turns import Full
from tests.faults.harness.waits import CLAIMS, NOTE_CLAIMS, Bound, Claim, Waited, waited
from tests.integration.engine.test_turns import claimed, put_at_hosts

pytestmark = pytest.mark.anyio

HOSTILE, QUIET = "z-hostile", "a-quiet"
BOUND = Bound(processes=1, tenants=3)


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(NOTE_CLAIMS.encode())
    database = Database(database_url)
    yield database
    await database.close()


async def put(database: Database) -> datetime:
    """A row of the quiet tenant, and when it was there to be seen."""
    rows = [due.Row(id="lone", lane="quiet.test", tenant=QUIET)]
    await database.run(lambda connection: due.put(connection, What.DELIVER, rows))
    (now,) = await database.fetch("SELECT clock_timestamp() AS now")
    seen: datetime = now["now"]
    return seen


async def count(database: Database, committed: datetime, *, what: str = "deliver") -> list[Waited]:
    claims = [Claim(**row) for row in await database.fetch(CLAIMS)]
    row = {"what": what, "id": "lone", "since": committed}
    return waited([row], claims, hostile={HOSTILE}, bound=BOUND)


async def test_a_row_of_the_next_claim_waits_for_nobody(database: Database) -> None:
    await put_at_hosts(database, 200, tenant=HOSTILE)
    await claimed(database)  # before there was anything else
    committed = await put(database)

    await claimed(database)

    assert await count(database, committed) == [Waited(what="deliver", id="lone", rows=0)]


async def test_claims_that_pass_a_row_over_are_counted_but_for_those_under_way(
    database: Database,
) -> None:
    await put_at_hosts(database, 200, tenant=HOSTILE)
    committed = await put(database)
    passing = [len((await claimed(database, full=Full(tenants=[QUIET]))).rows) for _ in range(3)]

    await claimed(database)

    (one,) = await count(database, committed)
    assert one.rows == sum(passing[BOUND.processes :]) > BOUND.rows


async def test_only_the_rows_kind_and_its_first_claim_matter(database: Database) -> None:
    await put_at_hosts(database, 200, tenant=HOSTILE)
    committed = await put(database)
    await claimed(database)
    for _ in range(2):
        await claimed(database, full=Full(tenants=[QUIET]))
    await database.fetch("UPDATE due SET at = now(), lease = NULL WHERE id = 'lone'")
    await claimed(database)

    assert [one.rows for one in await count(database, committed)] == [0]
    assert await count(database, committed, what="prepare") == []


async def test_renewals_and_write_backs_are_no_claims(database: Database) -> None:
    await put(database)
    await claimed(database)
    await database.fetch("UPDATE due SET at = now() + interval '1 minute'")
    rows = [due.Row(id="lone", lane="quiet.test", tenant=QUIET)]
    await database.run(lambda connection: due.put(connection, What.DELIVER, rows))

    assert [row["id"] for row in await database.fetch(CLAIMS)] == ["lone"]
