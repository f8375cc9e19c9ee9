"""Usage rows: inserted when a job ends, and still counted after it is deleted."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from tasks.deletion import delete
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.repeats import Caller
from tasks.upkeep.retention import prune_once
from tasks.usage import GROUPS, Usage, usage
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, Script, facing
from tests.integration.engine.house import LIFE, run

pytestmark = pytest.mark.anyio


@pytest.fixture
def vendor() -> Script:
    return Script()


@pytest.fixture
async def engine(make_engine: MakeEngine, vendor: Script) -> AsyncIterator[Engine]:
    engine = facing(make_engine(LONGTAKE_KEEP_JOBS_DAYS=60), FarSide(vendor.reply))
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def ask(engine: Engine, *, app: str | None = "shop", **fields: Any) -> str:
    body = {"prompt": "a quiet sea", "model": "gen4.5", "duration_seconds": 5} | fields
    request, caller = VideoRequest.from_json(body), Caller(app_id=app)
    return (await accept(engine, request, tenant="default", caller=caller)).job_id


async def rows(engine: Engine) -> dict[str, dict[str, Any]]:
    return {
        row["job"]: row for row in await engine.database.fetch("SELECT * FROM job_usage ORDER BY 1")
    }


async def told(engine: Engine, **selected: Any) -> dict[str, list[Usage]]:
    """The usage for every kind of group."""
    return {
        group_by: await usage(engine, tenant="default", group_by=group_by, **selected)
        for group_by in GROUPS
    }


async def test_a_job_is_entered_by_the_transaction_that_ends_it(
    engine: Engine, vendor: Script
) -> None:
    # Given a complete job and a failed one
    complete = await ask(engine)
    await run(engine, *LIFE)
    vendor.words["poll"] = "failed"
    failed = await ask(engine, app=None)
    await run(engine, *LIFE)
    cancelled = await ask(engine)
    assert set(await rows(engine)) == {complete, failed}

    # When a transaction that ends a third job is rolled back
    async with engine.database.transaction() as connection:
        await finish(engine, connection, JobState.CANCELLED, [cancelled])
        cursor = await connection.execute("SELECT state FROM job_usage WHERE job = %s", [cancelled])
        assert [row["state"] for row in await cursor.fetchall()] == ["cancelled"]
        await connection.execute("ROLLBACK AND CHAIN")

    # Then it has no row, and those of the others are unchanged
    found = await rows(engine)
    assert set(found) == {complete, failed}
    jobs = {row["id"]: row for row in await engine.database.fetch("SELECT * FROM job")}
    assert (found[complete]["videos"], found[complete]["app_id"]) == (1, "shop")
    assert found[complete]["video_seconds"] > 0
    assert found[complete]["cost_micros"] == jobs[complete]["cost_micros"] > 0
    took = jobs[complete]["finished_at"] - jobs[complete]["created_at"]
    assert found[complete]["took_seconds"] == pytest.approx(took.total_seconds())
    assert (found[complete]["model"], found[complete]["provider"]) == ("gen4.5", "runway")
    assert (found[failed]["state"], found[failed]["took_seconds"]) == ("failed", None)
    assert (found[failed]["cost_micros"], found[failed]["app_id"]) == (0, None)


async def test_unfinished_jobs_count_with_what_they_hold_and_have(engine: Engine) -> None:
    await ask(engine)
    await run(engine, *LIFE)
    await ask(engine)
    await ask(engine)
    await run(engine, What.SUBMIT)

    (shop,) = (await told(engine))["app_id"]

    held = await engine.database.fetch(
        "SELECT sum(reserved_micros) AS held FROM job WHERE finished_at IS NULL"
    )
    assert (shop.jobs, shop.complete, shop.failed, shop.videos) == (3, 1, 0, 1)
    assert shop.reserved_micros == held[0]["held"] > 0
    assert shop.took is not None


async def test_usage_survives_retention_and_deletion(engine: Engine) -> None:
    # Given three complete jobs
    old, erased, kept = [
        await ask(engine, metadata={"order": n}) for n in ("old", "erased", "kept")
    ]
    await run(engine, *LIFE)
    before = await told(engine)
    assert [each.jobs for each in before["tenant"]] == [3]

    # When retention deletes one, and the owner another
    await engine.database.fetch(
        "UPDATE job SET finished_at = finished_at - interval '61 days' WHERE id = %s", (old,)
    )
    assert (await prune_once(engine)).jobs == 1
    await delete(engine, erased, tenant="default")
    await run(engine, What.ERASE)

    # Then usage is the same, except for filters on their requests
    left = await engine.database.fetch("SELECT id, prompt FROM job ORDER BY id")
    assert {row["id"]: row["prompt"] for row in left} == {erased: "", kept: "a quiet sea"}
    assert await told(engine) == before
    for order, number in (("old", 0), ("erased", 0), ("kept", 1)):
        found = await told(engine, metadata={"order": order})
        assert sum(each.jobs for each in found["app_id"]) == number


async def test_a_time_selects_ended_and_unfinished_jobs_alike(engine: Engine) -> None:
    await ask(engine)
    await run(engine, *LIFE)
    await ask(engine)
    now = datetime.now(UTC)

    for since, until, number in (
        (now - timedelta(hours=1), None, 2),
        (now + timedelta(hours=1), None, 0),
        (None, now + timedelta(hours=1), 2),
        (None, now - timedelta(hours=1), 0),
    ):
        for groups in (await told(engine, since=since, until=until)).values():
            assert sum(each.jobs for each in groups) == number
    assert await usage(engine, tenant="another", group_by="day") == []
    assert sum(each.jobs for each in await usage(engine, tenant=None, group_by="key")) == 2


async def test_an_empty_tenant_does_not_select_all_tenants(engine: Engine) -> None:
    await ask(engine)
    await run(engine, *LIFE)
    await ask(engine)

    assert await usage(engine, tenant="", group_by="tenant") == []
    assert [each.jobs for each in await usage(engine, tenant=None, group_by="tenant")] == [2]
