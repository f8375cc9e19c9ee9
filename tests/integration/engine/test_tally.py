"""What becomes of a batch: its counts, the release of held lines, its cancel and its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from models.database import Connection
from models.keys import create_key
from models.limits import set_limits
from models.rows.batches import BatchRow
from models.rows.limits import Holder
from models.state import JobState
from models.verbs import What
from scheduler.pace import Pace
from tasks import jobs
from tasks.batches import progress
from tasks.batches.progress import Line
from tasks.batches.shown import read_batches
from tasks.engine import Engine
from tasks.outcomes.finish import finish
from tasks.pump.running import verb_for
from tasks.verbs.tally import Tallied
from tasks.verbs.verb import Hold
from tests.integration.conftest import MakeEngine
from tests.integration.engine.batched import (
    HOOK,
    batch_of,
    found_wrong,
    held,
    pumped,
    state_of,
    statuses,
    tally,
)
from tests.integration.engine.far_side import FarSide, Script, facing

pytestmark = pytest.mark.anyio
LIFE = (What.SUBMIT, What.POLL, What.STORE)
COUNTS = ("pending", "processing", "complete", "failed", "cancelled", "running")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def engine(make_engine: MakeEngine, script: Script) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), FarSide(script.reply))
    yield engine
    await engine.close()


async def counts(engine: Engine, batch: str) -> tuple[int, ...]:
    row = await state_of(engine, batch)
    return tuple(row[name] for name in COUNTS)


async def ended(engine: Engine, *wanted: str, to: JobState = JobState.CANCELLED) -> None:
    await engine.database.run(lambda c: finish(engine, c, to, list(wanted)))


# -- counts ---------------------------------------------------------------------------------------


async def test_counts_are_exact_before_and_after_they_are_folded(engine: Engine) -> None:
    batch = await batch_of(engine, 3)
    await pumped(engine, What.SUBMIT)
    await ended(engine, batch.jobs[0])

    async def seen(connection: Connection) -> tuple[int, ...]:
        (shown,) = await read_batches(connection, [batch.id])
        return tuple(getattr(shown, name) for name in COUNTS)

    before = await engine.database.run(seen)
    assert before == (0, 2, 0, 0, 1, 2)
    assert await counts(engine, batch.id) == (3, 0, 0, 0, 0, 3)
    assert await found_wrong(engine) == []

    await tally(engine)

    assert await counts(engine, batch.id) == before == await engine.database.run(seen)
    assert await engine.database.fetch("SELECT 1 FROM batch_change") == []
    assert await found_wrong(engine) == []


async def test_a_change_that_is_committed_during_the_fold_is_kept(engine: Engine) -> None:
    batch = await batch_of(engine, 3)
    await pumped(engine, What.SUBMIT)
    async with engine.database.transaction() as connection:
        await finish(engine, connection, JobState.CANCELLED, [batch.jobs[0]])
        await tally(engine)
        assert await counts(engine, batch.id) == (0, 3, 0, 0, 0, 3)
    # One of its counts, one of its money.
    assert len(await engine.database.fetch("SELECT 1 FROM batch_change")) == 2
    assert await found_wrong(engine) == []


# -- release --------------------------------------------------------------------------------------


async def test_no_more_lines_run_than_the_batch_allows_and_they_start_in_order(
    engine: Engine,
) -> None:
    batch = await batch_of(engine, 7, concurrency=3)
    assert await found_wrong(engine) == []
    await pumped(engine, What.SUBMIT)
    assert await statuses(engine, batch) == ["pending"] * 7
    await tally(engine, rounds=3)
    assert await held(engine, batch) == [4, 5, 6, 7]
    await pumped(engine, What.SUBMIT)
    assert await statuses(engine, batch) == ["processing"] * 3 + ["pending"] * 4

    await ended(engine, batch.jobs[1], batch.jobs[2])
    await tally(engine, rounds=3)

    assert await held(engine, batch) == [6, 7]
    assert await counts(engine, batch.id) == (4, 1, 0, 0, 2, 3)
    assert await found_wrong(engine) == []
    sql = """SELECT batch_line FROM due JOIN attempt USING (id) JOIN job ON job.id = attempt.job
             WHERE what = 'submit' ORDER BY at"""
    assert [row["batch_line"] for row in await engine.database.fetch(sql)] == [4, 5, 6, 7]


async def test_a_batch_runs_to_its_end_three_lines_at_a_time(engine: Engine) -> None:
    batch = await batch_of(engine, 8, concurrency=3, webhook=engine.vault.seal_json(HOOK))
    for _ in range(12):
        await tally(engine)
        row = await state_of(engine, batch.id)
        assert row["running"] <= 3
        assert await found_wrong(engine) == []
        await pumped(engine, *LIFE)
    row = await state_of(engine, batch.id)
    assert (row["state"], row["complete"], row["running"]) == ("completed", 8, 0)
    assert row["charged_micros"] == row["estimated_cost_micros"] > 0
    assert await engine.database.fetch("SELECT 1 FROM due WHERE what = 'tally'") == []


async def test_a_held_line_that_ended_is_passed_over(engine: Engine) -> None:
    batch = await batch_of(engine, 4, concurrency=1)
    await jobs.cancel(engine, batch.jobs[0], tenant="default")
    await jobs.cancel(engine, batch.jobs[2], tenant="default")
    await tally(engine, rounds=3)
    assert await held(engine, batch) == [4]
    assert await counts(engine, batch.id) == (2, 0, 0, 0, 2, 1)
    assert await found_wrong(engine) == []


async def test_a_limit_of_the_tenant_counts_released_lines_and_single_jobs_alike(
    engine: Engine,
) -> None:
    first = await batch_of(engine, 3, is_held=True)
    second = await batch_of(engine, 3, is_held=True)
    single = (await batch_of(engine, 1)).jobs[0]
    await engine.database.run(
        lambda c: set_limits(c, Holder.TENANT, "default", changes={"concurrent": 4})
    )

    await tally(engine, rounds=3)

    async def at_work() -> int:
        sql = "SELECT 1 FROM due WHERE what = 'expire' AND lane = '-'"
        return len(await engine.database.fetch(sql))

    assert await at_work() == 4
    assert len(await held(engine, first)) + len(await held(engine, second)) == 3
    await ended(engine, single)
    assert await at_work() == 3
    await tally(engine, rounds=2)
    assert await at_work() == 4
    assert await found_wrong(engine) == []


async def test_a_limit_of_the_key_holds_its_lines(engine: Engine) -> None:
    key, _ = await engine.database.run(lambda c: create_key(c, "default"))
    batch = await batch_of(engine, 3, is_held=True, api_key=key)
    await engine.database.run(lambda c: set_limits(c, Holder.KEY, key, changes={"concurrent": 2}))
    await tally(engine, rounds=3)
    assert await held(engine, batch) == [3]


async def test_two_workers_release_no_more_together(make_engine: MakeEngine) -> None:
    one, two = make_engine(), make_engine()
    batches = [await batch_of(one, 6, is_held=True, concurrency=4) for _ in range(3)]
    await one.database.run(
        lambda c: set_limits(c, Holder.TENANT, "default", changes={"concurrent": 5})
    )
    for _ in range(4):
        await asyncio.gather(tally(one), tally(two))
    left = [await held(one, batch) for batch in batches]
    assert 18 - sum(map(len, left)) == 5
    assert all(len(each) >= 2 for each in left)
    assert await found_wrong(one) == []


async def test_a_line_whose_time_has_not_come_waits_for_it_after_its_release(
    engine: Engine,
) -> None:
    later = datetime.now(UTC) + timedelta(days=29)
    batch = await batch_of(engine, [{"run_at": later.isoformat()}], concurrency=1)
    await tally(engine)
    (row,) = await engine.database.fetch("SELECT at FROM due WHERE what = 'submit'")
    assert row["at"] == later
    assert await held(engine, batch) == []


# -- cancel ---------------------------------------------------------------------------------------


async def cancelled(engine: Engine, batch: str) -> None:
    await engine.database.fetch("UPDATE batch SET cancelled_at = now() WHERE id = %s", (batch,))


async def test_a_cancelled_batch_releases_nothing_and_stops_what_runs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.batches.progress.CHUNK", 2)
    monkeypatch.setattr("tasks.verbs.tally.CHUNK", 2)
    hook = {"webhook_url": "https://hook.test/"}
    batch = await batch_of(engine, [hook] * 5, concurrency=2, webhook=engine.vault.seal_json(HOOK))
    await tally(engine)
    await pumped(engine, What.SUBMIT)
    await cancelled(engine, batch.id)

    await tally(engine, rounds=4)

    assert await statuses(engine, batch) == ["cancelled"] * 5
    row = await state_of(engine, batch.id)
    assert (row["state"], row["cancelled"], row["running"]) == ("cancelled", 5, 0)
    assert row["charged_micros"] == 0
    due = await engine.database.fetch("SELECT what, count(*) AS n FROM due GROUP BY 1 ORDER BY 1")
    assert {each["what"]: each["n"] for each in due} == {"cancel": 2, "deliver": 6}
    sent = await engine.database.fetch("SELECT 1 FROM attempt WHERE sent_at IS NOT NULL")
    assert len(sent) == 2
    assert await found_wrong(engine) == []


async def test_a_cancel_reads_no_line_again_but_leaves_none_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.batches.progress.CHUNK", 2)
    batch = await batch_of(engine, 5)
    await cancelled(engine, batch.id)
    asked: list[int] = []
    unfinished_after = progress.unfinished_after

    async def watched(connection: Connection, row: BatchRow, *, after: int) -> list[Line]:
        asked.append(after)
        return await unfinished_after(connection, row, after=after)

    monkeypatch.setattr(progress, "unfinished_after", watched)
    await engine.database.fetch("UPDATE batch SET cancelled_to = 1")  # its first line is behind
    await tally(engine, rounds=5)

    assert asked == [1, 3, 5, 0]
    assert await statuses(engine, batch) == ["cancelled"] * 5
    assert (await state_of(engine, batch.id))["state"] == "cancelled"


async def test_a_cancel_that_ended_nothing_does_not_make_the_batch_cancelled(
    engine: Engine,
) -> None:
    batch = await batch_of(engine, 2)
    await ended(engine, batch.jobs[1])
    await pumped(engine, *LIFE)
    await cancelled(engine, batch.id)
    await tally(engine)
    assert (await state_of(engine, batch.id))["state"] == "completed"


# -- the end --------------------------------------------------------------------------------------


async def test_a_batch_whose_lines_all_failed_is_failed(engine: Engine, script: Script) -> None:
    script.words["poll"] = "failed"
    batch = await batch_of(engine, 2)
    await pumped(engine, *LIFE)
    await tally(engine)
    row = await state_of(engine, batch.id)
    assert (row["state"], row["failed"], row["charged_micros"]) == ("failed", 2, 0)
    assert await found_wrong(engine) == []


async def test_its_end_is_told_once_with_its_view(engine: Engine) -> None:
    batch = await batch_of(engine, 2, webhook=engine.vault.seal_json(HOOK))
    await ended(engine, batch.jobs[0])
    await tally(engine)
    assert await engine.database.fetch("SELECT 1 FROM delivery") == []
    await pumped(engine, *LIFE)
    await tally(engine)

    # A worker that was slow finds an ended batch
    await engine.database.fetch(
        "INSERT INTO due (what, id, lane, tenant) VALUES ('tally', %s, '-', 'default')",
        (batch.id,),
    )
    await tally(engine)

    (delivery,) = await engine.database.fetch("SELECT * FROM delivery")
    assert (delivery["batch"], delivery["job"], delivery["host"]) == (batch.id, None, "hook.test")
    event = json.loads(engine.vault.open(delivery["body"]))
    assert event["type"] == "batch.completed"
    told = event["data"]
    assert (told["id"], told["status"], told["reserved_cost_usd"]) == (batch.id, "completed", 0)
    assert (told["counts"]["complete"], told["counts"]["cancelled"]) == (1, 1)
    assert told["cost_usd"] == told["estimated_cost_usd"] / 2 > 0
    assert await engine.database.fetch("SELECT 1 FROM due WHERE what = 'tally'") == []
    assert await found_wrong(engine) == []


async def test_an_unreadable_webhook_does_not_keep_a_batch_from_ending(engine: Engine) -> None:
    batch = await batch_of(engine, 1, webhook=b"sealed with a key that is lost")
    await ended(engine, batch.jobs[0])
    await tally(engine)
    assert (await state_of(engine, batch.id))["state"] == "failed"
    assert await engine.database.fetch("SELECT 1 FROM delivery") == []
    assert await found_wrong(engine) == []


async def test_a_worker_that_lost_its_lease_ends_nothing(engine: Engine) -> None:
    batch = await batch_of(engine, 2, concurrency=1)
    sql = "UPDATE due SET lease = gen_random_uuid() WHERE what = 'tally'"
    await engine.database.fetch(sql)

    stale = Hold("00000000-0000-0000-0000-000000000000", Pace(1))
    await verb_for(What.TALLY, engine).act(Tallied(id=batch.id), stale)

    assert await held(engine, batch) == [1, 2]
