"""Transactions that the server breaks off for another's sake are done again, and end."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg import errors

from models.database import TRANSACTION_TRIES, Connection, Database, DatabaseAway

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.fetch("CREATE TABLE counter (id text PRIMARY KEY, n int)")
    await database.fetch("INSERT INTO counter VALUES ('one', 0), ('two', 0)")
    yield database
    await database.close()


async def add_to(connection: Connection, counter: str) -> None:
    await connection.execute("UPDATE counter SET n = n + 1 WHERE id = %s", (counter,))


async def test_two_that_lock_each_other_out_are_both_done(database: Database) -> None:
    both_hold_one = asyncio.Barrier(2)
    tries = 0

    async def add_to_both(*counters: str) -> None:
        is_first = True

        async def work(connection: Connection) -> None:
            nonlocal is_first, tries
            tries += 1
            first, second = counters
            await add_to(connection, first)
            if is_first:
                is_first = False
                await both_hold_one.wait()
            await add_to(connection, second)

        await database.run(work)

    async with asyncio.timeout(30):
        await asyncio.gather(add_to_both("one", "two"), add_to_both("two", "one"))

    assert tries > 2
    assert [row["n"] for row in await database.fetch("SELECT n FROM counter")] == [2, 2]


async def test_a_transaction_that_cannot_be_serialized_is_done_again(database: Database) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT n FROM counter")
        if tries == 1:
            await database.fetch("UPDATE counter SET n = n + 10 WHERE id = 'one'")
        await add_to(connection, "one")

    await database.run(work)

    assert tries == 2
    (row,) = await database.fetch("SELECT n FROM counter WHERE id = 'one'")
    assert row["n"] == 11


async def test_trying_again_has_an_end(database: Database) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        raise errors.SerializationFailure

    with pytest.raises(DatabaseAway):
        await database.run(work)
    assert tries == TRANSACTION_TRIES


async def test_another_mistake_is_not_tried_again(database: Database) -> None:
    tries = 0

    async def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute("INSERT INTO counter VALUES ('one', 0)")

    with pytest.raises(errors.UniqueViolation):
        await database.run(work)
    assert tries == 1
