"""Jobs that were accepted before there was a ledger: the migration opens it with what they hold."""

from collections.abc import Iterator

import psycopg
import pytest
from alembic import command

from models.database import Database
from models.invariants import violations
from stack.servers.postgres import EmbeddedPostgres
from tests.integration.old_revisions import database_at, migrate

pytestmark = pytest.mark.anyio

JOB = """
INSERT INTO job (id, tenant, request_id, state, model, prompt, request, plan, scene,
                 progress_source, typical_seconds, estimated_cost_micros, cost_micros,
                 unknown_policy, deadline_at, finished_at)
VALUES (%(id)s, 'default', 'r', %(state)s, 'm', 'p', '{}', '{}', '', 'estimated', 60, 1000,
        %(cost)s, 'at_most_once', now(), CASE WHEN %(cost)s::bigint IS NOT NULL THEN now() END)
"""
ATTEMPT = """
INSERT INTO attempt (id, job, provider, account, route, state, marker, cost_micros)
VALUES (%s, %s, 'kling', 'kling', 'r', %s, %s, %s)
"""
OUTPUT = "INSERT INTO output (id, job, attempt, position, state) VALUES (%s, %s, %s, 0, 'expected')"
OURS = {"ledger_unbalanced", "ledger_of_job", "attempt_not_absorbed", "budget_miscounted"}


@pytest.fixture
def old_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A database at the revision before, with a job in each kind of state."""
    with database_at(postgres_server, "0008") as url:
        with psycopg.connect(url) as connection:
            for id_, state, cost, attempt, paid in (
                ("running", "processing", None, "accepted", None),
                ("complete", "complete", 1000, "succeeded", 1500),
                ("failed", "failed", 0, "failed", 30),
                ("doubtful", "failed", 0, "unknown", None),
            ):
                connection.execute(JOB, {"id": id_, "state": state, "cost": cost})
                connection.execute(ATTEMPT, (f"a-{id_}", id_, attempt, id_, paid))
                connection.execute(OUTPUT, (f"o-{id_}", id_, f"a-{id_}"))
        yield url


async def test_jobs_are_reserved_and_those_that_ended_are_settled(old_database: str) -> None:
    migrate(old_database, "head")

    with psycopg.connect(old_database) as connection:
        cursor = connection.execute(
            "SELECT account, sum(amount_micros)::bigint FROM ledger_entry GROUP BY account"
        )
        found: dict[str, int] = dict(cursor.fetchall())
    assert found == {
        "tenant:available": -2000,
        "tenant:reserved": 1000,
        "tenant:spent": 1000,
        "operator:absorbed": 500 + 30 + 1000,
        "operator:provider": -1530,
    }
    database = Database(old_database)
    contradictions = {each.kind for each in await database.run(violations)}
    await database.close()
    assert not contradictions & OURS


def test_there_is_a_way_back(old_database: str) -> None:
    migrate(old_database, "head")
    migrate(old_database, "0008", step=command.downgrade)
    migrate(old_database, "head")
    with psycopg.connect(old_database) as connection:
        (count,) = connection.execute("SELECT count(*) FROM ledger_entry").fetchone() or (0,)
    assert count == 2 * 4 + (2 + 2 + 2) + 2 * 3


GATE = """
INSERT INTO gate (id, tenant, name, strategy, routing, spending_limit_micros)
VALUES ('gate_1', 'default', 'shop', 'single', '{}', %s)
"""


@pytest.mark.parametrize("most", [1500, 5000])
async def test_a_gates_limit_opens_with_what_its_jobs_hold_and_have_spent(
    old_database: str, most: int
) -> None:
    migrate(old_database, "0012")
    with psycopg.connect(old_database) as connection:
        connection.execute(GATE, (most,))
        connection.execute("UPDATE job SET gate = 'gate_1' WHERE id IN ('running', 'complete')")

    migrate(old_database, "head")
    migrate(old_database, "0012", step=command.downgrade)
    migrate(old_database, "head")

    with psycopg.connect(old_database) as connection:
        cursor = connection.execute(
            "SELECT limit_micros, reserved_micros, spent_micros, used_before_micros "
            "FROM budget JOIN budget_use ON budget = budget.id WHERE scope = 'gate'"
        )
        assert cursor.fetchall() == [(most, 1000, 1000, 2000)]
        with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
            connection.execute("UPDATE ledger_entry SET gate = NULL")
    database = Database(old_database)
    contradictions = {each.kind for each in await database.run(violations)}
    await database.close()
    assert not contradictions & (OURS | {"budget_exceeded", "gate_limit_untrue"})
