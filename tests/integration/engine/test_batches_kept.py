"""Held lines and old batches: single lines' routes, a restored database, and retention."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from models.high_water import park
from models.verbs import What
from tasks import deletion, deliveries, jobs
from tasks.batches.control import read
from tasks.batches.results import results
from tasks.engine import Engine
from tasks.repeats import Caller
from tasks.restore.parked import release
from tasks.retry import retry
from tasks.upkeep.reseal import reseal
from tasks.upkeep.retention import prune_once
from tests.integration.conftest import MakeEngine
from tests.integration.engine.batched import (
    HOOK,
    TestBatch,
    batch_of,
    found_wrong,
    held,
    pumped,
    state_of,
    statuses,
    tally,
)
from tests.integration.engine.far_side import FarSide, Script, facing
from tests.integration.engine.moved_in_time import enter_anew

pytestmark = pytest.mark.anyio
LIFE = (What.SUBMIT, What.POLL, What.STORE)


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = facing(make_engine(LONGTAKE_KEEP_JOBS_DAYS=60), FarSide(Script().reply))
    yield engine
    await engine.close()


async def seen(engine: Engine, batch: TestBatch) -> list[tuple[int, str]]:
    """Its results: each line's number and status."""
    shown = await read(engine, batch.id, tenant="default")
    return [(line["line"], line["status"]) async for line in results(engine, shown)]


# -- single lines ---------------------------------------------------------------------------------


async def test_a_held_line_expires_at_its_deadline(engine: Engine) -> None:
    batch = await batch_of(engine, [{}, {"deadline_seconds": 60}], concurrency=1)
    await tally(engine)
    await engine.database.fetch(
        "UPDATE job SET deadline_at = now() - interval '1 s' WHERE batch_line = 2"
    )
    await pumped(engine, What.EXPIRE)
    await tally(engine)
    assert await statuses(engine, batch) == ["pending", "failed"]
    assert (await state_of(engine, batch.id))["running"] == 1
    assert await found_wrong(engine) == []


async def test_a_held_line_is_cancelled_deleted_and_retried_like_any_job(engine: Engine) -> None:
    batch = await batch_of(engine, 4, concurrency=1)
    await tally(engine)
    await jobs.cancel(engine, batch.jobs[1], tenant="default")
    await deletion.delete(engine, batch.jobs[2], tenant="default")
    again, _ = await retry(engine, batch.jobs[1], tenant="default", caller=Caller())
    await pumped(engine, What.ERASE)
    await tally(engine)

    assert await held(engine, batch) == [4]
    assert "batch_id" not in again.view
    assert [status for _, status in await seen(engine, batch)] == [
        *("pending", "cancelled", "deleted", "pending")
    ]
    assert await found_wrong(engine) == []


# -- a restored database --------------------------------------------------------------------------


async def parked(engine: Engine) -> list[str]:
    now = datetime.now(UTC) + timedelta(minutes=1)
    return await engine.database.run(
        lambda c: park(c, before=now, after="", looked_up=[], most=100)
    )


async def test_a_held_line_may_have_been_sent_before_a_restore_and_stays_held(
    engine: Engine,
) -> None:
    batch = await batch_of(engine, 3, concurrency=1)
    assert len(await parked(engine)) == 3  # it may have been released since the backup
    assert await held(engine, batch) == [1, 2, 3]
    assert await found_wrong(engine) == []
    await tally(engine)
    await pumped(engine, What.SUBMIT)
    assert await statuses(engine, batch) == ["pending"] * 3

    attempts = [row["id"] for row in await engine.database.fetch("SELECT id FROM attempt")]
    assert len(await engine.database.run(lambda c: release(c, attempts))) == 3

    assert await held(engine, batch) == [2, 3]
    assert await found_wrong(engine) == []
    await pumped(engine, What.SUBMIT)
    assert await statuses(engine, batch) == ["processing", "pending", "pending"]


# -- retention ------------------------------------------------------------------------------------


async def aged(engine: Engine, days: int = 61) -> None:
    for table in ("job", "batch", "delivery"):
        await engine.database.fetch(
            f"UPDATE {table} SET finished_at = now() - %s * interval '1 day' "  # noqa: S608
            "WHERE finished_at IS NOT NULL",
            (days,),
        )
    await enter_anew(engine)


async def test_old_lines_of_an_unfinished_batch_are_kept(engine: Engine) -> None:
    batch = await batch_of(engine, 2, concurrency=1)
    await tally(engine)
    await pumped(engine, *LIFE)
    await aged(engine)
    assert (await prune_once(engine)).jobs == 0
    assert len(await seen(engine, batch)) == 2
    assert await found_wrong(engine) == []


async def test_an_old_batch_goes_with_its_lines_its_event_and_its_key(engine: Engine) -> None:
    batch = await batch_of(engine, 3, webhook=engine.vault.seal_json(HOOK))
    await pumped(engine, *LIFE, What.TALLY)
    await engine.database.fetch(
        "INSERT INTO idempotency (tenant, key, body_hash, batch, response) "
        "VALUES ('default', 'k', '', %s, %s)",
        (batch.id, engine.vault.seal_json({})),
    )
    assert await reseal(engine)
    await aged(engine)
    first = await prune_once(engine)
    assert (first.jobs, first.batches, first.deliveries) == (3, 0, 0)  # its event is pending
    assert await seen(engine, batch) == []
    assert await found_wrong(engine) == []

    await pumped(engine, What.DELIVER)
    await aged(engine)
    second = await prune_once(engine)

    assert second.batches == 1
    for table in ("batch", "batch_change", "delivery", "idempotency"):
        assert await engine.database.fetch(f"SELECT 1 FROM {table}") == []  # noqa: S608
    assert await found_wrong(engine) == []


async def test_a_partly_pruned_batch_shows_the_lines_that_are_left(engine: Engine) -> None:
    batch = await batch_of(engine, 3)
    await pumped(engine, *LIFE, What.TALLY)
    await engine.database.fetch("DELETE FROM job WHERE batch_line = 2")
    assert await seen(engine, batch) == [(1, "complete"), (3, "complete")]
    assert await found_wrong(engine) == []


# -- its event ------------------------------------------------------------------------------------


async def test_the_event_of_a_batch_is_listed_and_replayed(engine: Engine) -> None:
    batch = await batch_of(engine, 1, webhook=engine.vault.seal_json(HOOK))
    await pumped(engine, *LIFE, What.TALLY, What.DELIVER)

    async def listed(**filters: str) -> list[tuple[str, str, int]]:
        found = await deliveries.list_newest(engine, tenant="default", limit=9, **filters)
        return [(each.type, each.state, len(each.tries)) for each in found]

    assert await listed(batch_id=batch.id) == [("batch.completed", "delivered", 1)]
    assert await listed(job_id=batch.jobs[0]) == []
    (delivery,) = await deliveries.list_newest(engine, tenant="default", limit=9)
    await deliveries.replay(engine, delivery.id, tenant="default")
    await pumped(engine, What.DELIVER)
    assert await listed() == [("batch.completed", "delivered", 2)]
    assert await found_wrong(engine) == []
