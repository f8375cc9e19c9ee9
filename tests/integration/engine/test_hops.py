"""A gate moves on to its next model where nothing is spent, and never where it may have been."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from models.database import Connection
from models.gate import GateRequest
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from tasks import gates
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.errors import PATIENCE
from tasks.outcomes.finish import finish
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said
from tests.integration.engine.gated import (
    AWAY,
    FALLBACK,
    LIFE,
    LUMA,
    REFUSALS,
    RUNWAY,
    Vendors,
    attempts,
    gated,
    hops,
    run,
    submitted,
    view_of,
)
from transport.base import Request, Response, Unanswered

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


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_moves_on_and_the_next_is_paid_once(
    engine: Engine, vendors: Vendors, refusal: str
) -> None:
    vendors.submit = REFUSALS[refusal]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, *LIFE)

    view = await view_of(engine, job)
    assert vendors.posts == ["runway", "luma"]
    assert (view["status"], view["perf"]["model_used"]) == ("complete", "ray-3.2")
    assert [(hop["from_model"], hop["to_model"]) for hop in view["hops"]] == [("gen4.5", "ray-3.2")]
    assert view["cost_usd"] == view["estimated_cost_usd"] == LUMA / 1e6
    (told,) = await hops(engine, job)
    assert (told["from"], told["to"]) == ("gen4.5", "ray-3.2")
    assert told["code"] == view["hops"][0]["code"]


@pytest.mark.parametrize(
    "trouble", [AWAY, said(429, {"error": "later"}, **{"retry-after": "0"}), said(503, {})]
)
async def test_trouble_is_borne_for_a_while_and_then_moves_on(
    engine: Engine, vendors: Vendors, trouble: Response | Exception
) -> None:
    vendors.submit = trouble
    job = await submitted(engine)
    await run(engine, *[What.SUBMIT] * (PATIENCE - 1))
    assert await attempts(engine, job) == [("runway", "planned")]

    await run(engine, What.SUBMIT, *LIFE)
    assert await attempts(engine, job) == [("runway", "failed"), ("luma_agents", "succeeded")]
    assert vendors.posts == [*["runway"] * PATIENCE, "luma"]


async def test_an_account_without_credentials_moves_on(engine: Engine, vendors: Vendors) -> None:
    """The API accepted the job with credentials that no worker has."""
    job = await submitted(engine)
    accounts = {name: one for name, one in engine.accounts.items() if name != "runway"}
    await run(replace(engine, accounts=accounts), *[What.SUBMIT] * PATIENCE, *LIFE)

    assert (await view_of(engine, job))["hops"][0]["code"] == "no_credentials"
    assert vendors.posts == ["luma"]


async def test_a_late_failure_worth_another_try_moves_on(engine: Engine, vendors: Vendors) -> None:
    vendors.fails = {"failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
    job = await submitted(engine)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    assert await attempts(engine, job) == [("runway", "failed"), ("luma_agents", "succeeded")]
    assert (await view_of(engine, job))["cost_usd"] == LUMA / 1e6
    assert vendors.posts == ["runway", "luma"]


@pytest.mark.parametrize("code", ["SAFETY.INPUT.TEXT", "INPUT.INVALID", "NEVER.HEARD.OF"])
async def test_a_late_failure_that_would_come_again_ends_the_job(
    engine: Engine, vendors: Vendors, code: str
) -> None:
    vendors.fails = {"failureCode": code}
    job = await submitted(engine)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    assert (await view_of(engine, job))["status"] == "failed"
    assert vendors.posts == ["runway"]


@pytest.mark.parametrize("policy", ["at_most_once", "at_least_once"])
async def test_a_lost_answer_never_moves_on(engine: Engine, vendors: Vendors, policy: str) -> None:
    vendors.submit = Unanswered("no answer")
    job = await submitted(engine, unknown_policy=policy)
    await run(engine, What.SUBMIT)
    vendors.submit = REFUSALS["the request is refused"]  # what a repeat of the same route gets
    await run(engine, What.SUBMIT, What.SUBMIT)

    assert await hops(engine, job) == []
    assert "luma" not in vendors.posts
    assert ("runway", "unknown") in await attempts(engine, job)
    assert (await view_of(engine, job))["status"] == "failed"


async def test_a_repeat_after_a_hop_is_by_the_same_model(engine: Engine, vendors: Vendors) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    vendors.luma_first = Unanswered("no answer")
    job = await submitted(engine, unknown_policy="at_least_once")
    await run(engine, What.SUBMIT, What.SUBMIT, *LIFE)

    assert vendors.posts == ["runway", "luma", "luma"]
    view = await view_of(engine, job)
    assert (view["perf"]["model_used"], view["cost_usd"]) == ("ray-3.2", LUMA / 1e6)
    assert len(view["hops"]) == len(await hops(engine, job)) == 1


async def test_no_model_is_planned_that_costs_more_than_the_request_allows(
    engine: Engine, vendors: Vendors
) -> None:
    dear = FALLBACK | {"name": "dear", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(dear), tenant="default")
    job = await submitted(engine, gate="dear", max_cost_usd=0.5)

    (row,) = await engine.database.fetch("SELECT plan, fallbacks FROM job WHERE id = %s", (job,))
    assert (row["plan"]["model"], row["fallbacks"]) == ("ray-3.2", None)


@pytest.mark.parametrize(("most", "is_moved"), [(0.9, True), (0.89, False)])
async def test_what_a_failed_attempt_cost_counts_towards_the_maximum(
    engine: Engine, vendors: Vendors, most: float, *, is_moved: bool
) -> None:
    vendors.fails = {"failureCode": "INTERNAL", "cost": {"credits": 60}}
    job = await submitted(engine, max_cost_usd=most)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    assert bool(await hops(engine, job)) == is_moved
    assert vendors.posts == (["runway", "luma"] if is_moved else ["runway"])


@pytest.mark.parametrize("column", ["deadline_at", "start_by"])
async def test_a_deadline_that_has_passed_stops_hops(
    engine: Engine, vendors: Vendors, column: str
) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)

    async def slow(request: Request) -> Response:
        sql = f"UPDATE job SET {column} = now() - interval '1 s'"  # noqa: S608
        await engine.database.fetch(sql)
        return await vendors.reply(request)

    await run(facing(engine, FarSide(slow)), What.SUBMIT)
    await run(engine, What.SUBMIT)

    assert (await view_of(engine, job))["status"] == "failed"
    assert vendors.posts == ["runway"]


async def test_a_cancelled_job_moves_on_no_more(engine: Engine, vendors: Vendors) -> None:
    vendors.fails = {"failureCode": "INTERNAL"}
    job = await submitted(engine)
    await run(engine, What.SUBMIT)

    async def cancel(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])
        await connection.execute("UPDATE due SET what = 'poll' WHERE what = 'cancel'")

    await engine.database.run(cancel)
    await run(engine, What.POLL, What.SUBMIT)
    assert vendors.posts == ["runway"]


async def test_each_video_moves_on_by_itself_and_is_charged_at_its_own_price(
    engine: Engine, vendors: Vendors
) -> None:
    job = await submitted(engine, count=2, seed=7, unsupported="ignore")
    sql = "SELECT id FROM due WHERE what = 'submit' ORDER BY id"
    first, _ = [row["id"] for row in await engine.database.fetch(sql)]
    await record_accepted(engine, first, Accepted(operation_id="op-first"))
    vendors.submit = REFUSALS["the request is refused"]
    await run(engine, What.SUBMIT, *LIFE, What.POLL, What.STORE)

    view = await view_of(engine, job)
    assert view["status"] == "complete"
    assert view["cost_usd"] == (RUNWAY + LUMA) / 1e6
    assert await attempts(engine, job) == [
        *(("runway", "succeeded"), ("runway", "refused"), ("luma_agents", "succeeded")),
    ]


async def test_the_last_models_refusal_is_the_jobs_end(engine: Engine, vendors: Vendors) -> None:
    dear = FALLBACK | {"name": "last", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(dear), tenant="default")
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine, gate="last", model="gen4.5")
    await run(engine, What.SUBMIT, What.SUBMIT)

    assert (await view_of(engine, job))["status"] == "failed"
    assert vendors.posts == ["runway"]


async def test_what_one_model_ignores_the_next_one_may_carry(
    engine: Engine, vendors: Vendors
) -> None:
    other = FALLBACK | {"name": "luma-first", "model": "ray-3.2", "fallback_models": ["gen4.5"]}
    await gates.create(engine, GateRequest.from_json(other), tenant="default")
    job = await submitted(engine, gate="luma-first", seed=7, unsupported="ignore")

    sql = "SELECT plan, fallbacks FROM job WHERE id = %s"
    (row,) = await engine.database.fetch(sql, (job,))
    assert row["plan"]["scene"] == {"seed": None}
    assert "scene" not in row["fallbacks"]["1"]
    assert (await view_of(engine, job))["ignored"] == ["seed"]


async def test_evidence_that_comes_late_takes_the_videos_back(
    engine: Engine, vendors: Vendors
) -> None:
    """The refusal was no refusal: what the gate had planned instead is released, not sent."""
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, lane="runway")
    (first, _) = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    await record_accepted(engine, first["id"], Accepted(operation_id="op-late"))
    await run(engine, *LIFE)

    assert await attempts(engine, job) == [("runway", "succeeded"), ("luma_agents", "cancelled")]
    assert vendors.posts == ["runway"]


async def test_an_attempt_that_comes_back_after_its_hop_may_be_left_once_more(
    engine: Engine, vendors: Vendors
) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, lane="runway")
    # Given that the refused attempt was accepted after all, and its operation fails
    (first, _) = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    await record_accepted(engine, first["id"], Accepted(operation_id="op-late"))
    vendors.fails = {"failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}
    await run(engine, *LIFE, *LIFE)

    assert (await view_of(engine, job))["status"] == "complete"
    assert vendors.posts == ["runway", "luma"]
    states = [("runway", "failed"), ("luma_agents", "cancelled"), ("luma_agents", "succeeded")]
    assert await attempts(engine, job) == states
