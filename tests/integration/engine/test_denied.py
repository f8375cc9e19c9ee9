"""An operation that its provider denies: waited for, lost, looked at again, written off at last."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.reconcile import doubtful, look_up_again
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of
from transport.base import Request, Response

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Vendor:
    """Knows all operations but those that it denies just now, and ends those that it may."""

    denied: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    made: int = 0

    async def reply(self, request: Request) -> Response:
        kind, id_ = kind_of(request), request.url.rpartition("/")[2]
        self.made += kind == "submit"
        answers = answers_to(request, self.made)
        if id_ in self.denied and kind in {"poll", "cancel"}:
            answer = answers["gone"]
        elif id_ in self.running and kind == "poll":
            answer = answers["running"]
        else:
            answer = next(iter(answers.values()))
        assert isinstance(answer, Response)
        return answer


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def far_side(vendor: Vendor) -> FarSide:
    return FarSide(vendor.reply)


@pytest.fixture
async def engine(make_engine: MakeEngine, far_side: FarSide) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), far_side)
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def running(engine: Engine, **fields: Any) -> str:
    """A job whose operation runs: the first one is op-1, the next op-2, …"""
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5", **fields})
    job = (await accept(engine, request, tenant="default")).job_id
    await run(engine, What.SUBMIT)
    return job


async def run(engine: Engine, *kinds: What) -> None:
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s', lease = NULL WHERE what = %s", (what,)
        )
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def later(engine: Engine, minutes: float) -> None:
    """So much time goes by, as the rows have it."""
    await engine.database.fetch(
        """
        UPDATE attempt SET denied_since = denied_since - %(m)s * interval '1 min',
                           seen_at = seen_at - %(m)s * interval '1 min',
                           accepted_at = accepted_at - %(m)s * interval '1 min'
        """,
        {"m": minutes},
    )


async def state_of(engine: Engine, job: str) -> tuple[str, str | None]:
    (row,) = await engine.database.fetch(
        "SELECT state, error ->> 'code' AS code FROM job WHERE id = %s", (job,)
    )
    return row["state"], row["code"]


async def attempt_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM attempt WHERE job = %s", (job,))
    return row


async def wait_of(engine: Engine, job: str) -> float:
    (row,) = await engine.database.fetch(
        """
        SELECT extract(epoch FROM at - now())::float8 AS wait FROM due
        WHERE what = 'poll' AND id = (SELECT id FROM attempt WHERE job = %s)
        """,
        (job,),
    )
    return float(row["wait"])


async def lost(engine: Engine, vendor: Vendor) -> str:
    """A job that was given up since its operation was denied for long, beside one that runs."""
    vendor.running = {"op-2"}
    job, _ = await running(engine), await running(engine)
    vendor.denied = {"op-1"}
    await run(engine, *[What.POLL] * 5)
    await later(engine, 60)
    await run(engine, What.POLL)  # the account tells of the other
    await run(engine, What.POLL)
    assert await state_of(engine, job) == ("failed", "operation_lost")
    return job


async def test_denials_lose_an_operation_neither_by_their_number_nor_by_time_alone(
    engine: Engine, vendor: Vendor
) -> None:
    vendor.running = {"op-2"}
    job, _ = await running(engine), await running(engine)
    vendor.denied = {"op-1"}
    # Many looks within minutes, looked at again within a minute each time
    await run(engine, *[What.POLL] * 20)
    assert await state_of(engine, job) == ("processing", None)
    assert await wait_of(engine, job) <= 60

    # An update makes denials begin again, so that the time alone says nothing either
    vendor.denied, vendor.running = set(), {"op-1", "op-2"}
    await run(engine, What.POLL)
    assert (await attempt_of(engine, job))["denied_since"] is None
    vendor.denied = {"op-1"}
    await run(engine, What.POLL)
    await later(engine, 60)
    await run(engine, *[What.POLL] * 2)
    assert await state_of(engine, job) == ("processing", None)
    # Both together do
    await run(engine, *[What.POLL] * 2)
    assert await state_of(engine, job) == ("failed", "operation_lost")


async def test_a_dear_operation_is_waited_for_longer(engine: Engine, vendor: Vendor) -> None:
    vendor.running = {"op-2"}
    job, _ = await running(engine), await running(engine)
    await engine.database.fetch(
        "UPDATE job SET estimated_cost_micros = 5000000 WHERE id = %s", (job,)
    )
    vendor.denied = {"op-1"}
    await run(engine, *[What.POLL] * 5)
    await later(engine, 55)
    await run(engine, *[What.POLL] * 2)
    assert await state_of(engine, job) == ("processing", None)
    await later(engine, 10)
    await run(engine, *[What.POLL] * 2)
    assert await state_of(engine, job) == ("failed", "operation_lost")


async def test_while_a_whole_account_is_denied_only_the_deadline_ends_a_job(
    engine: Engine, vendor: Vendor
) -> None:
    job, other = await running(engine), await running(engine)
    vendor.denied = {"op-1", "op-2"}
    await run(engine, *[What.POLL] * 5)
    await later(engine, 20 * 60)
    await run(engine, *[What.POLL] * 3)
    assert await state_of(engine, job) == await state_of(engine, other) == ("processing", None)

    await engine.database.fetch("UPDATE job SET deadline_at = now() WHERE id = %s", (job,))
    await run(engine, What.EXPIRE)
    assert await state_of(engine, job) == ("failed", "deadline_exceeded")
    # When the edge is well again, the other completes
    vendor.denied = set()
    await run(engine, What.POLL, What.STORE)
    assert await state_of(engine, other) == ("complete", None)


async def test_a_success_since_then_shows_too_that_the_account_answers(
    engine: Engine, vendor: Vendor
) -> None:
    job, other = await running(engine), await running(engine)
    vendor.denied = {"op-1"}
    await run(engine, *[What.POLL] * 5)
    assert (await attempt_of(engine, other))["state"] == "succeeded"
    await later(engine, 60)
    await run(engine, What.POLL)
    assert await state_of(engine, job) == ("failed", "operation_lost")


async def test_a_lost_operation_is_listed_and_looked_at_ever_more_rarely(
    engine: Engine, vendor: Vendor, far_side: FarSide
) -> None:
    job = await lost(engine, vendor)

    attempt = await attempt_of(engine, job)
    assert (attempt["state"], attempt["cost_micros"]) == ("accepted", None)
    assert not [request for request in far_side.requests if kind_of(request) == "cancel"]
    (listed,) = await engine.database.run(doubtful)
    assert (listed.id, listed.kind, listed.is_looked_up) == (attempt["id"], "lost", True)
    assert listed.at_risk_micros > 0
    assert 50 * 60 < await wait_of(engine, job) <= 72 * 60
    # The operator may have it looked at now
    count = await engine.database.run(lambda c: look_up_again(c, [attempt["id"]]))
    assert count == 1
    assert await wait_of(engine, job) <= 0


async def test_a_lost_operation_that_succeeded_costs_what_it_cost_and_moves_no_job(
    engine: Engine, vendor: Vendor
) -> None:
    job = await lost(engine, vendor)
    vendor.denied = set()
    await run(engine, What.POLL)

    assert (await attempt_of(engine, job))["state"] == "succeeded"
    assert await state_of(engine, job) == ("failed", "operation_lost")
    assert await engine.database.run(doubtful) == []


async def test_a_lost_operation_that_still_runs_is_stopped(engine: Engine, vendor: Vendor) -> None:
    job = await lost(engine, vendor)
    vendor.denied, vendor.running = set(), {"op-1"}
    await run(engine, What.POLL, What.CANCEL)
    assert (await attempt_of(engine, job))["state"] == "cancelled"


async def test_a_lost_operation_is_written_off_after_two_days(
    engine: Engine, vendor: Vendor
) -> None:
    job = await lost(engine, vendor)
    await later(engine, 48 * 60)
    await run(engine, What.POLL)

    attempt = await attempt_of(engine, job)
    assert (attempt["state"], attempt["error"]["code"]) == ("failed", "operation_abandoned")
    (row,) = await engine.database.fetch(
        "SELECT estimated_cost_micros FROM job WHERE id = %s", (job,)
    )
    assert attempt["cost_micros"] == row["estimated_cost_micros"]
    assert await engine.database.run(doubtful) == []
