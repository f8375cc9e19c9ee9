"""The way to PostgreSQL: one pool per process and loop, short transactions, bounded retries."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, overload

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

T = TypeVar("T")
R = TypeVar("R")
Connection = AsyncConnection[DictRow]
#: Values of a statement's placeholders, by position or by name.
Parameters = Sequence[Any] | Mapping[str, Any]

#: Times a transaction is tried when the server says that trying again may help.
TRANSACTION_TRIES = 5
#: Failures after which the same transaction may pass: all our writes are guarded, so a commit
#: whose answer was lost does no harm when it is repeated.
_PASSING = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
    psycopg.OperationalError,
    PoolTimeout,
)


class DatabaseAway(Exception):
    """PostgreSQL can't be reached, or did not answer in time."""


class Database:
    """A lazily opened pool: build it anywhere, use it in one event loop."""

    def __init__(self, url: str, *, connections: int = 8, timeout: float = 10.0) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            timeout=timeout,
            open=False,
            reconnect_timeout=30,
            kwargs={
                "row_factory": dict_row,
                "autocommit": True,  # transactions are begun in words, below
                "connect_timeout": 5,
                "application_name": "longtake",
                # Ours last milliseconds: a process that is stopped in the middle of one must not
                # keep its locks for longer than its lease.
                "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=10s "
                "-c lock_timeout=10s -c timezone=UTC",
            },
        )
        self._opened = False
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._opened:
            await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back on any error."""
        async with self._connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if not self._opened:
            async with self._opening:
                if not self._opened:
                    await self._pool.open()
                    self._opened = True
        async with self._pool.connection() as connection:
            yield connection

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """`work` in a transaction, again when the server asks for it; `work` must be repeatable.

        Raises:
            DatabaseAway: the server stayed out of reach for all tries.
        """
        return await _again(self.transaction, work)

    async def run_statement(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """As `run`, for `work` of one statement: a transaction by itself, two round trips less."""
        return await _again(self._connection, work)

    @overload
    async def fetch(self, sql: str, parameters: Parameters = ()) -> list[DictRow]: ...

    @overload
    async def fetch(
        self, sql: str, parameters: Parameters = (), *, row: Callable[..., R]
    ) -> list[R]: ...

    async def fetch(
        self, sql: str, parameters: Parameters = (), *, row: Callable[..., R] | None = None
    ) -> list[DictRow] | list[R]:
        """All rows of one statement in a transaction of its own, each made by `row` if given."""

        async def work(connection: Connection) -> list[DictRow]:
            cursor = await connection.execute(sql, parameters)
            return await cursor.fetchall() if cursor.description else []

        found = await self.run_statement(work)
        return found if row is None else [row(**values) for values in found]


async def fetch_rows(
    connection: Connection, row: Callable[..., R], sql: str, parameters: Parameters = ()
) -> list[R]:
    """All rows of a statement; `row` is called with the columns of each as keywords."""
    cursor = await connection.execute(sql, parameters)
    return [row(**values) for values in await cursor.fetchall()]


async def fetch_row(
    connection: Connection, row: Callable[..., R], sql: str, parameters: Parameters = ()
) -> R | None:
    """The first row of a statement, or None; `row` is called with its columns as keywords."""
    cursor = await connection.execute(sql, parameters)
    values = await cursor.fetchone()
    return row(**values) if values else None


async def fetch_ids(connection: Connection, sql: str, parameters: Parameters = ()) -> list[str]:
    """The only column of a statement's rows: ids, or other text."""
    cursor = await connection.execute(sql, parameters)
    return [value for (value,) in map(dict.values, await cursor.fetchall())]


async def _again(
    connect: Callable[[], AbstractAsyncContextManager[Connection]],
    work: Callable[[Connection], Awaitable[T]],
) -> T:
    for number in range(1, TRANSACTION_TRIES + 1):
        try:
            async with connect() as connection:
                return await work(connection)
        except _PASSING as error:
            if number == TRANSACTION_TRIES:
                raise DatabaseAway(_in_words(error)) from error
            await asyncio.sleep(random.uniform(0, 0.05 * 2**number))
    raise AssertionError  # the loop returns or raises


def _in_words(error: Exception) -> str:
    first = str(error).strip().splitlines()
    return first[0][:200] if first else type(error).__name__
