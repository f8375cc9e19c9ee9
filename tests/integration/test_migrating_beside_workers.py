"""Migrations run beside workers of the version before: none holds on to what another has locked."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest

from models.migrate import upgrade
from stack.servers.postgres import EmbeddedPostgres
from tests.integration.old_revisions import database_at, migrate

#: Whether anybody waits for a lock.
WAITS = """
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
               WHERE datname = current_database() AND NOT granted)
"""


@pytest.fixture
def old_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A database before the columns of `attempt` that 0027 adds."""
    with database_at(postgres_server, "0026") as url:
        yield url


def until_it_waits(ends: Future[None], connection: psycopg.Connection) -> None:
    """Return once the migration waits for a lock; fail if it ends without."""
    while connection.execute(WAITS).fetchone() != (True,):
        assert not ends.done()


def test_a_migration_that_takes_long_holds_up_nobody(old_database: str) -> None:
    with (
        ThreadPoolExecutor(1) as migrating,
        psycopg.connect(old_database) as blocker,
        psycopg.connect(old_database, autocommit=True) as worker,
    ):
        # Given 0029, which enters all jobs that have ended, and is not through yet
        blocker.execute("LOCK TABLE upkeep IN SHARE MODE")
        ends = migrating.submit(migrate, old_database, "head")
        until_it_waits(ends, worker)
        # When a worker writes an attempt
        worker.execute("SET lock_timeout = '1s'")
        worker.execute("UPDATE attempt SET polls = polls + 1")
        # Then it waits for no migration before this one
        blocker.rollback()
        ends.result()


def test_a_migration_that_waits_for_a_dump_lets_workers_by(old_database: str) -> None:
    migrate(old_database, "0029")
    with (
        ThreadPoolExecutor(1) as migrating,
        psycopg.connect(old_database) as dump,
        psycopg.connect(old_database, autocommit=True) as worker,
    ):
        # Given 0030, which waits for a table that a dump reads
        dump.execute("SELECT FROM output")
        ends = migrating.submit(upgrade, old_database)
        until_it_waits(ends, worker)
        # When a worker waits behind it for as long as workers do
        worker.execute("SET lock_timeout = '10s'")
        worker.execute("UPDATE output SET faults = faults")
        # Then it is let by, and the migration ends after the dump
        assert not ends.done()
        dump.rollback()
        ends.result()
        assert worker.execute("SELECT count(stills_bytes) FROM output").fetchone() == (0,)


def test_a_migration_that_waits_for_a_vacuum_of_attempts_locks_no_outputs(
    old_database: str,
) -> None:
    migrate(old_database, "0030")
    with (
        ThreadPoolExecutor(1) as migrating,
        psycopg.connect(old_database) as vacuum,
        psycopg.connect(old_database, autocommit=True) as worker,
    ):
        # Given 0031, which waits for a table that VACUUM or ANALYZE holds
        vacuum.execute("LOCK TABLE attempt IN SHARE UPDATE EXCLUSIVE MODE")
        ends = migrating.submit(upgrade, old_database)
        until_it_waits(ends, worker)
        # Then a worker writes an output at once
        worker.execute("SET lock_timeout = '100ms'")
        worker.execute("UPDATE output SET faults = faults")
        vacuum.rollback()
        ends.result()


def test_a_migration_that_meets_a_worker_in_a_deadlock_is_tried_again(old_database: str) -> None:
    with (
        ThreadPoolExecutor(1) as migrating,
        psycopg.connect(old_database) as worker,
        psycopg.connect(old_database, autocommit=True) as watch,
    ):
        # Given 0027, which has changed `duration` and waits for attempts, of which a worker writes
        worker.execute("SET deadlock_timeout = '1min'")  # the migration notices it
        worker.execute("UPDATE attempt SET polls = polls")
        ends = migrating.submit(upgrade, old_database)
        until_it_waits(ends, watch)
        # When the worker reads what it has changed
        worker.execute("SELECT FROM duration")
        worker.rollback()
        # Then the migration is tried again
        ends.result()
        assert watch.execute("SELECT count(knots) FROM duration").fetchone() == (0,)
