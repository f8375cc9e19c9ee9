"""What a gate's jobs may cost together, their retries, and messages that come twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from models.database import Connection
from models.failure import RequestRefused
from models.gate import GateRequest
from models.ids import new_id
from models.request import DEFAULT_MODEL, VideoRequest
from models.state import JobState
from tasks import gates, intake
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.repeats import Caller
from tasks.retry import retry
from tasks.upkeep.retention import prune_once
from tests.integration.conftest import MakeEngine
from tests.integration.engine.gated import (
    FALLBACK,
    LIFE,
    Vendors,
    gated,
    run,
    submitted,
)
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
async def engine(
    make_engine: MakeEngine, vendors: Vendors, anyio_backend: str
) -> AsyncIterator[Engine]:
    async with gated(make_engine, vendors) as engine:
        yield engine


async def cancelled(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


async def test_a_retry_sets_only_what_its_gate_allows(engine: Engine) -> None:
    strict = GateRequest.from_json(FALLBACK | {"name": "strict", "overrides": "none"})
    await gates.create(engine, strict, tenant="default")
    job = await submitted(engine, gate="strict")
    await cancelled(engine, job)

    again, _ = await retry(engine, job, tenant="default", caller=Caller())
    assert (again.view["model"], again.view["retry_of"]) == ("gen4.5", job)


@pytest.mark.parametrize("asked", [DEFAULT_MODEL, "gen4.5", None])
async def test_a_retry_asks_its_gate_for_the_same_model(engine: Engine, asked: str | None) -> None:
    """The model that requests have by default is no default of a gate that has another one."""
    luma_first = FALLBACK | {"name": "luma", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(luma_first), tenant="default")
    job = await submitted(engine, gate="luma", **({"model": asked} if asked else {}))
    await cancelled(engine, job)

    again, _ = await retry(engine, job, tenant="default", caller=Caller())

    sql = "SELECT model, estimated_cost_micros, plan ->> 'model' AS used FROM job WHERE id = %s"
    (before,) = await engine.database.fetch(sql, (job,))
    assert await engine.database.fetch(sql, (again.job_id,)) == [before]
    assert before["model"] == (asked or "ray-3.2")


async def test_a_retry_goes_through_its_gate_whatever_its_name_is_now(engine: Engine) -> None:
    job = await submitted(engine)
    await cancelled(engine, job)
    renamed = GateRequest.from_json(FALLBACK | {"name": "renamed"})
    await gates.replace(engine, "shop", renamed, tenant="default")

    again, _ = await retry(engine, job, tenant="default", caller=Caller())
    assert again.view["retry_of"] == job


async def test_deliveries_of_one_job_at_once_count_once_against_the_gates_limit(
    engine: Engine,
) -> None:
    narrow = FALLBACK | {"name": "narrow", "spending_limit_usd": 0.7}
    await gates.create(engine, GateRequest.from_json(narrow), tenant="default")
    request = VideoRequest.from_json({"prompt": "a quiet sea", "gate": "narrow"})
    job_id = new_id("job_vid")
    accepted = await asyncio.gather(
        *(accept(engine, request, tenant="default", job_id=job_id) for _ in range(4))
    )
    assert [one.job_id for one in accepted] == [job_id] * 4
    assert [one.is_repeat for one in accepted].count(False) == 1


async def limited(engine: Engine, usd: float | None) -> None:
    """Set the gate's spending limit, or lift it; a job of it may cost 0.60."""
    wanted = GateRequest.from_json(FALLBACK | {"spending_limit_usd": usd})
    await gates.replace(engine, "shop", wanted, tenant="default")


async def test_retention_forgets_nothing_that_a_gate_has_spent(engine: Engine) -> None:
    await limited(engine, 0.7)
    await submitted(engine)
    await run(engine, *LIFE)
    await engine.database.fetch("UPDATE job SET finished_at = now() - interval '31 d'")
    settings = engine.settings.model_copy(update={"keep_jobs_days": 30})
    assert (await prune_once(replace(engine, settings=settings))).jobs == 1

    for usd, is_enough in ((0.7, False), (1.19, False), (None, True)):
        await limited(engine, usd)
        if is_enough:
            await submitted(engine)
        else:
            with pytest.raises(RequestRefused, match=r"of which \$0.60 is spent or reserved"):
                await submitted(engine)
    # A limit that is set again counts what was spent without one
    await limited(engine, 1.79)
    with pytest.raises(RequestRefused, match=r"of which \$1.20 is spent or reserved"):
        await submitted(engine)


async def test_a_limit_that_is_set_during_a_submission_holds(engine: Engine) -> None:
    """It waits for the submission, which saw none, and counts it."""
    async with engine.database.transaction() as connection:
        await connection.execute("SELECT id FROM tenant FOR KEY SHARE")  # as a new job's row does
        setting = asyncio.create_task(limited(engine, 0.7))

        async def is_waiting() -> bool:
            assert not setting.done()
            return bool(
                await engine.database.fetch(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND datname = current_database()"
                )
            )

        await until(is_waiting)
    await setting


async def test_a_submission_that_saw_no_limit_is_held_to_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read the gate, and inserts its job when the limit is set and used up."""
    record = intake._record  # noqa: SLF001
    has_chosen, goes_on = asyncio.Event(), asyncio.Event()

    async def held_up(*given: Any) -> Any:
        has_chosen.set()
        await goes_on.wait()
        return await record(*given)

    monkeypatch.setattr(intake, "_record", held_up)
    late = asyncio.create_task(submitted(engine))
    await has_chosen.wait()
    monkeypatch.setattr(intake, "_record", record)
    await limited(engine, 0.7)
    await submitted(engine)
    goes_on.set()

    with pytest.raises(RequestRefused, match="spending limit"):
        await late


async def test_a_spending_limit_is_told_in_dollars(engine: Engine) -> None:
    await limited(engine, 1.234567)
    for _ in range(2):
        await submitted(engine)
    with pytest.raises(RequestRefused) as refused:
        await submitted(engine)
    assert refused.value.message == (
        "the gate shop has a spending limit of $1.234567, of which $1.20 is spent or reserved; "
        "this job may cost $0.60"
    )
