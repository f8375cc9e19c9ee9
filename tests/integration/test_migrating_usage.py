"""The migration inserts usage rows for jobs that have ended, as their end would."""

from collections.abc import Iterator

import psycopg
import pytest
from alembic import command
from psycopg.rows import dict_row

from models.database import Connection, Database
from models.invariants import violations
from stack.servers.postgres import EmbeddedPostgres
from tasks.upkeep.overlooked import enter_overlooked
from tests.integration.old_revisions import database_at, migrate

pytestmark = pytest.mark.anyio

JOB = """
INSERT INTO job (id, tenant, app_id, request_id, state, model, prompt, request, plan, scene, gate,
                 fallbacks, progress_source, typical_seconds, estimated_cost_micros, cost_micros,
                 unknown_policy, created_at, deadline_at, finished_at)
SELECT id, 'default', 'shop', 'r', state, 'asked', 'p', '{}',
       '{"model": "first", "provider": "kling"}', '', gate,
       '{"1": {"model": "second", "provider": "runway"}}', 'estimated', 60, 1000, cost,
       'at_most_once', now() - interval '90 s', now(), CASE WHEN cost IS NOT NULL THEN now() END
FROM (VALUES ('running', 'processing', NULL, NULL), ('complete', 'complete', 1000, NULL),
             ('by_gate', 'complete', 900, 'gate_1'), ('failed', 'failed', 0, NULL))
     AS job (id, state, cost, gate)
"""
ATTEMPT = """
INSERT INTO attempt (id, job, provider, account, route, state, marker)
VALUES (%s, %s, 'kling', 'kling', 'r', %s, %s)
"""
OUTPUT = """
INSERT INTO output (id, job, attempt, position, state, duration_seconds)
VALUES (%s, %s, %s, 0, %s, 5)
"""


@pytest.fixture
def old_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A database at the revision before, with a job in each kind of state."""
    with database_at(postgres_server, "0028") as url:
        with psycopg.connect(url) as connection:
            connection.execute(JOB)
            for id_, attempt, output in (
                ("running", "accepted", "expected"),
                ("complete", "succeeded", "stored"),
                ("by_gate", "succeeded", "stored"),
                ("failed", "failed", "failed"),
            ):
                connection.execute(ATTEMPT, (f"a-{id_}", id_, attempt, id_))
                connection.execute(OUTPUT, (f"o-{id_}", id_, f"a-{id_}", output))
            connection.execute("UPDATE attempt SET choice = 1 WHERE job = 'by_gate'")
        yield url


async def test_only_ended_jobs_are_entered(old_database: str) -> None:
    migrate(old_database, "head")
    migrate(old_database, "0028", step=command.downgrade)
    migrate(old_database, "head")

    with psycopg.connect(old_database, row_factory=dict_row) as connection:
        rows = connection.execute("SELECT * FROM job_usage ORDER BY job").fetchall()
    shown = [
        (row["job"], row["model"], row["provider"], row["videos"], row["cost_micros"])
        for row in rows
    ]
    assert shown == [
        ("by_gate", "second", "runway", 1, 900),
        ("complete", "asked", "kling", 1, 1000),
        ("failed", "asked", "kling", 0, 0),
    ]
    assert [row["took_seconds"] for row in rows] == [90, 90, None]
    database = Database(old_database)
    found = {each.kind for each in await database.run(violations)}
    await database.close()
    assert "usage_untrue" not in found


async def test_jobs_that_an_older_worker_ends_are_entered_later(old_database: str) -> None:
    migrate(old_database, "head")
    database = Database(old_database)
    await database.fetch(
        "UPDATE job SET state = 'cancelled', cost_micros = 0, finished_at = now() "
        "WHERE id = 'running'"
    )

    async def entered(connection: Connection) -> tuple[int, bool]:
        return await enter_overlooked(connection)

    assert await database.run(entered) == (1, False)
    assert await database.run(entered) == (0, False)
    await database.close()
