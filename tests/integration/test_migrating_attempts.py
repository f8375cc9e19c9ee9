"""Attempts that an older version left behind, migrated: what they don't say proves nothing."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from models.migrate import driver_url
from models.schema import METADATA
from stack.servers.postgres import EmbeddedPostgres
from tests.integration.old_revisions import database_at, migrate

JOB = """
INSERT INTO job (id, tenant, request_id, state, model, prompt, request, plan, scene,
                 progress_source, typical_seconds, estimated_cost_micros, unknown_policy,
                 deadline_at)
VALUES ('job_1', 'default', 'r', 'submitting', 'm', 'p', '{}', '{}', '', 'estimated', 60, 1,
        'at_least_once', now())
"""
ATTEMPT = """
INSERT INTO attempt (id, job, provider, account, route, state, marker, payload_hash, poll_faults,
                     sent_at)
VALUES (%s, 'job_1', 'kling', 'kling', 'r', %s, %s, 'x', %s, %s)
"""
DELIVERY = """
INSERT INTO delivery (id, job, tenant, type, host, state, target, body)
VALUES (%s, %s, 'default', 'batch.completed', 'h', 'pending', '', '')
"""
REPEATED = """
INSERT INTO event (job, kind, detail)
VALUES ('job_1', 'attempt.repeated', '{"attempt": "att_3", "after": "att_2"}')
"""


@pytest.fixture
def old_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A database at the revision before, with attempts of a job in several states."""
    with database_at(postgres_server, "0001") as url:
        with psycopg.connect(url) as connection:
            connection.execute(JOB)
            for id_, state, faults in (
                ("att_1", "sent", 0),
                ("att_2", "unknown", 3),
                ("att_3", "planned", 0),
                ("att_4", "accepted", 2),
            ):
                sent = None if state == "planned" else "2026-01-01T00:00:00Z"
                connection.execute(ATTEMPT, (id_, state, id_, faults, sent))
            connection.execute(REPEATED)
        yield url


def attempts(url: str) -> dict[str, dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return {row["id"]: row for row in connection.execute("SELECT * FROM attempt").fetchall()}


def test_what_was_sent_before_waits_for_the_longest_and_proves_nothing(old_database: str) -> None:
    migrate(old_database, "head")

    rows = attempts(old_database)
    for id_ in ("att_1", "att_2"):
        lasts = rows[id_]["answer_by"] - rows[id_]["sent_at"]
        assert lasts.total_seconds() == 25 * 60
        assert rows[id_]["absent_after"] > rows[id_]["answer_by"]
        assert (rows[id_]["sent_as"], rows[id_]["callback_base"]) == (None, None)
    assert rows["att_3"]["answer_by"] is None
    assert rows["att_3"]["replaces"] == "att_2"
    # Look-ups were counted as polls
    assert (rows["att_2"]["look_ups"], rows["att_2"]["poll_faults"]) == (3, 0)
    assert (rows["att_4"]["look_ups"], rows["att_4"]["poll_faults"]) == (0, 2)


def test_the_rows_are_what_the_migrations_make(old_database: str) -> None:
    migrate(old_database, "head")
    engine = create_engine(driver_url(old_database), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_there_is_a_way_back(old_database: str) -> None:
    before = attempts(old_database)
    migrate(old_database, "head")
    migrate(old_database, "0001", step=command.downgrade)

    assert attempts(old_database) == before


def test_the_way_back_drops_deliveries_that_the_older_schema_has_no_place_for(
    old_database: str,
) -> None:
    migrate(old_database, "head")
    with psycopg.connect(old_database) as connection:
        for id_, job in (("evt_1", "job_1"), ("evt_2", None)):
            connection.execute(DELIVERY, (id_, job))
            connection.execute(
                "INSERT INTO due (what, id, lane, tenant) VALUES ('deliver', %s, 'h', 'default')",
                (id_,),
            )
    migrate(old_database, "0007", step=command.downgrade)

    with psycopg.connect(old_database) as connection:
        for table in ("delivery", "due"):
            kept = connection.execute(f"SELECT id FROM {table}").fetchall()  # noqa: S608
            assert kept == [("evt_1",)], table


def test_the_way_back_shows_no_deleted_job_again(old_database: str) -> None:
    migrate(old_database, "head")
    with psycopg.connect(old_database) as connection:
        connection.execute("UPDATE job SET deleted_at = now()")
        connection.execute(
            "INSERT INTO due (what, id, lane, tenant) VALUES ('erase', 'job_1', '-', 'default')"
        )
    migrate(old_database, "0008", step=command.downgrade)

    with psycopg.connect(old_database) as connection:
        for table in ("job", "attempt", "due"):
            assert connection.execute(f"SELECT id FROM {table}").fetchall() == []  # noqa: S608
