"""The doctor finds nothing wrong with healthy batches, and everything that somebody broke."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from models.batch_invariants import BATCHES
from models.database import Connection
from models.state import JobState
from models.verbs import What
from tasks.engine import Engine
from tasks.outcomes.finish import finish
from tests.integration.conftest import MakeEngine
from tests.integration.engine.batched import HOOK, batch_of, found_wrong, pumped, tally
from tests.integration.engine.far_side import FarSide, Script, facing

pytestmark = pytest.mark.anyio

#: `running` has lines that are released, the first of them ended, and two held; `ended` is final.
CORRUPTIONS: Mapping[str, str] = {
    "batch_miscounted": "UPDATE batch SET failed = failed + 1 WHERE id = %(running)s",
    "batch_overrun": "UPDATE batch SET concurrency = 1 WHERE id = %(running)s",
    "line_not_held": """
        UPDATE due SET at = now() FROM attempt JOIN job ON job.id = attempt.job
        WHERE what = 'submit' AND due.id = attempt.id AND batch_line > 3""",
    "line_held_for_ever": """
        UPDATE batch SET released_to = 5, running = running + 2 WHERE id = %(running)s""",
    "batch_ending": "INSERT INTO batch_change (batch) VALUES (%(ended)s)",
    "batch_cost": "UPDATE batch SET charged_micros = charged_micros + 1 WHERE id = %(ended)s",
    "batch_event": "DELETE FROM delivery WHERE batch = %(ended)s",
}
MORE_CORRUPTIONS: Sequence[tuple[str, str]] = (
    ("due_missing", "DELETE FROM due WHERE what = 'tally'"),
    ("due_missing", "UPDATE due SET lane = '-' WHERE what = 'expire' AND lane = 'held'"),
    ("due_missing", "UPDATE due SET lane = 'held' WHERE what = 'expire' AND lane = '-'"),
    (
        "due_left_over",
        "INSERT INTO due (what, id, lane, tenant) VALUES ('tally', %(ended)s, '-', 'default')",
    ),
    ("batch_miscounted", "UPDATE batch SET running = running + 1 WHERE id = %(running)s"),
    ("batch_miscounted", "INSERT INTO batch_change (batch, running) VALUES (%(running)s, -1)"),
    (
        "batch_miscounted",
        "DELETE FROM job WHERE batch_id = %(running)s AND state = 'cancelled'",
    ),
    ("batch_miscounted", "UPDATE batch SET running = 1 WHERE id = %(ended)s"),
    (
        "batch_ending",
        "UPDATE batch SET state = 'failed', finished_at = now() WHERE id = %(running)s",
    ),
    ("batch_cost", "UPDATE batch SET reserved_micros = 1 WHERE id = %(ended)s"),
    ("batch_cost", "INSERT INTO batch_change (batch, reserved_micros) VALUES (%(running)s, -1)"),
    ("batch_event", "UPDATE delivery SET batch = %(running)s WHERE batch = %(ended)s"),
    ("batch_event", "UPDATE delivery SET batch = NULL WHERE batch = %(ended)s"),
    (
        "key_of_another",
        """
        WITH another AS (INSERT INTO tenant (id) VALUES ('another') RETURNING id)
        INSERT INTO idempotency (tenant, key, body_hash, batch, response)
        SELECT another.id, 'planted', '', %(ended)s, '' FROM another""",
    ),
)


@dataclass(frozen=True, slots=True)
class Batches:
    """A database with a batch that runs and one that has ended, by these names."""

    engine: Engine
    ids: Mapping[str, str]

    async def plant(self, sql: str) -> None:
        async def work(connection: Connection) -> None:
            cursor = await connection.execute(sql, self.ids)
            assert cursor.rowcount > 0, "nothing was planted"

        await self.engine.database.run(work)


@pytest.fixture
async def batches(make_engine: MakeEngine) -> AsyncIterator[Batches]:
    engine = facing(make_engine(), FarSide(Script().reply))
    ended = await batch_of(engine, 2, webhook=engine.vault.seal_json(HOOK))
    await pumped(engine, What.SUBMIT, What.POLL, What.STORE, What.TALLY)
    running = await batch_of(engine, 5, concurrency=3, webhook=engine.vault.seal_json(HOOK))
    await tally(engine)
    await pumped(engine, What.SUBMIT)
    gone = [running.jobs[0]]
    await engine.database.run(lambda c: finish(engine, c, JobState.CANCELLED, gone))
    yield Batches(engine, {"running": running.id, "ended": ended.id})
    await engine.close()


def test_every_invariant_of_batches_has_a_corruption() -> None:
    assert set(CORRUPTIONS) == {invariant.kind for invariant in BATCHES}


@pytest.mark.parametrize(("kind", "sql"), [*CORRUPTIONS.items(), *MORE_CORRUPTIONS])
async def test_a_planted_corruption_is_found(batches: Batches, kind: str, sql: str) -> None:
    assert await found_wrong(batches.engine) == []
    await batches.plant(sql)
    assert kind in await found_wrong(batches.engine)
