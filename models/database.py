"""Access to PostgreSQL: a pool per process and event loop, short transactions, bounded retries."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

T = TypeVar("T")
R = TypeVar("R")
Connection = AsyncConnection[DictRow]
#: Values of a statement's placeholders, by position or by name.
Parameters = Sequence[Any] | Mapping[str, Any]

#: Maximum tries of a transaction that fails with a transient error.
TRANSACTION_TRIES = 5
#: Transient errors: the transaction is retried. Repeating one whose commit was applied, but not
#: confirmed, is harmless, because all our writes are guarded.
_PASSING = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
    psycopg.OperationalError,
    PoolTimeout,
)


#: Seconds in which a server that is asked whether it is there must answer.
_THERE_WITHIN = 3.0


class DatabaseAway(Exception):
    """PostgreSQL is unreachable, or did not respond in time."""


async def require_answer(url: str) -> None:
    """Ask the server for a sign of life, once and without a pool.

    Raises:
        DatabaseAway: none within seconds; the message names the server, and no password.
    """
    try:
        async with asyncio.timeout(_THERE_WITHIN):
            connection = await AsyncConnection.connect(url, autocommit=True)
            try:
                await connection.execute("SELECT 1")
            finally:
                await connection.close()
    except TimeoutError as error:
        msg = f"{_server(url)} does not answer within {_THERE_WITHIN:.0f} s"
        raise DatabaseAway(msg) from error
    except psycopg.Error as error:
        raise DatabaseAway(f"{_server(url)}: {_first_line(error)}") from error


def _server(url: str) -> str:
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "PostgreSQL"
    return f"PostgreSQL at {given.get('host', 'localhost')}:{given.get('port', 5432)}"


class Database:
    """A pool that opens on first use: create it anywhere, use it in one event loop."""

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
                "autocommit": True,  # transactions are explicit: see `transaction`
                "connect_timeout": 5,
                "application_name": "longtake",
                # Our statements take milliseconds: a process suspended inside a transaction must
                # not hold its locks for longer than its lease.
                "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=10s "
                "-c lock_timeout=10s -c timezone=UTC",
            },
        )
        self._timeout = timeout
        #: See `run_around_others`.
        self._around = asyncio.Semaphore(connections // 2)
        #: A quarter of the connections is for work that goes first.
        self._behind = asyncio.Semaphore(connections - connections // 4)
        self._opened = False
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._opened:
            await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction, committed at the end of the block and rolled back on any error."""
        async with self._connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _first_transaction(self) -> AsyncIterator[Connection]:
        async with self._first_connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection for work that does not go first: it waits for others of its kind."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._behind.acquire()
        except TimeoutError as error:
            msg = f"no connection was free within {self._timeout:g} s"
            raise PoolTimeout(msg) from error
        try:
            async with self._first_connection() as connection:
                yield connection
        finally:
            self._behind.release()

    @asynccontextmanager
    async def _first_connection(self) -> AsyncIterator[Connection]:
        if not self._opened:
            async with self._opening:
                if not self._opened:
                    await self._pool.open()
                    self._opened = True
        async with self._pool.connection() as connection:
            yield connection

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, first: bool = False) -> T:
        """Run `work` in a transaction, and again on a transient error; `work` must be repeatable.

        Short work that others depend on goes `first`: a quarter of the connections is its own, so
        it never waits for those of many rows that are worked on.

        Raises:
            DatabaseAway: every try failed with a transient error.
        """
        return await _again(self._first_transaction if first else self.transaction, work)

    async def run_around_others(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Like `run`, for work that uses further connections while it holds its own.

        At most half of the pool's connections are held by such work, so it always gets others.
        """
        async with self._around:
            return await self.run(work)

    async def run_statement(
        self, work: Callable[[Connection], Awaitable[T]], *, first: bool = False
    ) -> T:
        """Like `run`, for a single statement in autocommit: saves two round trips."""
        return await _again(self._first_connection if first else self._connection, work)

    @overload
    async def fetch(
        self, sql: str, parameters: Parameters = (), *, first: bool = False
    ) -> list[DictRow]: ...

    @overload
    async def fetch(
        self, sql: str, parameters: Parameters = (), *, row: Callable[..., R], first: bool = False
    ) -> list[R]: ...

    async def fetch(
        self,
        sql: str,
        parameters: Parameters = (),
        *,
        row: Callable[..., R] | None = None,
        first: bool = False,
    ) -> list[DictRow] | list[R]:
        """All rows of one statement in a transaction of its own, each made by `row` if given."""

        async def work(connection: Connection) -> list[DictRow]:
            cursor = await connection.execute(sql, parameters)
            return await cursor.fetchall() if cursor.description else []

        found = await self.run_statement(work, first=first)
        return found if row is None else [row(**values) for values in found]


#: What is called after the commit of the work that a connection does; see `after_commit`.
_after: WeakKeyDictionary[Connection, list[Callable[[], None]]] = WeakKeyDictionary()


def after_commit(connection: Connection, call: Callable[[], None]) -> None:
    """Have `call` called, which must not raise, once the work that got the connection is committed.

    If the work is repeated, only what its last try asked for is called. Work that is not done by
    `Database.run` or `run_statement` is told to nobody.
    """
    _after.setdefault(connection, []).append(call)


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
                _after.pop(connection, None)
                result = await work(connection)
                calls = _after.pop(connection, ())
        except _PASSING as error:
            if number == TRANSACTION_TRIES:
                raise DatabaseAway(_first_line(error)) from error
            await asyncio.sleep(random.uniform(0, 0.05 * 2**number))
        else:
            for call in calls:
                call()
            return result
    raise AssertionError  # the loop returns or raises


def _first_line(error: Exception) -> str:
    """The line that says it: of several addresses, the first one's."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if not line.endswith(":")), "")
    return said[:200] or type(error).__name__
