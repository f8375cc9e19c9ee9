"""Accounts that their provider refuses: no job fails for it, and one attempt at a time probes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from models import accounts as rules
from models import waking
from models.accounts import Listed, Obstacle
from models.blocks import summon
from models.database import Connection
from models.failure import Failure, Fault
from models.gate import GateRequest
from models.request import VideoRequest
from models.verbs import What
from providers.base import Capabilities, ProviderError, Update
from scheduler.pace import Pace
from scheduler.paces import LaneNotes
from tasks import gates
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.polled import PollItem
from tasks.pump.pump import Pump
from tasks.pump.running import pace_of, verb_for
from tasks.verbs.poll import Poll
from tasks.verbs.submit import Submit, SubmitItem
from tasks.verbs.verb import Hold
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import said
from tests.integration.engine.house import (
    LIFE,
    TEAM,
    House,
    ask,
    events,
    housed,
    pause,
    resume,
    rows,
    run,
    view_of,
)
from transport.base import Response, Unanswered

pytestmark = pytest.mark.anyio

REFUSALS = {
    "provider_auth": said(401, {"error": "no such key"}),
    "provider_quota": said(400, {"error": "You do not have enough credits to run this task."}),
    "provider_rate_limited": said(429, {"error": "tomorrow"}, **{"retry-after": "86400"}),
}
JOBS = 20
#: POSTs that may be under way when the first is refused.
AT_ONCE = 16


@pytest.fixture
async def house(make_engine: MakeEngine, anyio_backend: str) -> AsyncIterator[House]:
    async with housed(make_engine) as house:
        yield house


async def listed(engine: Engine) -> Listed:
    (one,) = await engine.database.run(lambda on: rules.list_accounts(on, ["runway"]))
    return one


async def time_passes(engine: Engine) -> None:
    """Until the next probe."""
    await engine.database.fetch("UPDATE account_rule SET probe_at = now() - interval '1 s'")


async def places(engine: Engine) -> list[str]:
    sql = "SELECT id FROM due WHERE what = 'submit' AND lease IS NULL ORDER BY at, id"
    return [row["id"] for row in await engine.database.fetch(sql)]


@pytest.mark.parametrize(("code", "refusal"), REFUSALS.items(), ids=REFUSALS)
async def test_a_refused_account_fails_no_job_and_is_left_alone(
    house: House, code: str, refusal: Response
) -> None:
    engine = house.start()
    jobs = [await ask(engine) for _ in range(JOBS)]
    house.vendor.submit = refusal
    with capture_logs() as logs:
        await run_in_order(engine)
        asked = len(house.vendor.by("submit"))
        await run(engine, What.SUBMIT)
        for _ in range(6):
            await run_in_order(engine)

    # Then nothing was sent but what was under way, and all of them wait
    assert 1 <= asked <= AT_ONCE
    assert len(house.vendor.by("submit")) == asked
    assert await rows(engine) == [("runway", "planned")] * JOBS
    for job in jobs:
        view = await view_of(engine, job)
        assert (view["status"] == "failed", view["waiting"]["code"]) == (False, code)
    # And operators are told once, with the provider's words
    (told,) = (line for line in logs if line["event"] == "account.blocked")
    assert (told["account"], told["code"]) == ("runway", code)
    account = await listed(engine)
    assert (account.block_code, account.waiting) == (code, JOBS)
    assert "Runway answered HTTP" in (account.block_reason or "")


@pytest.mark.parametrize("code", REFUSALS)
async def test_one_attempt_at_a_time_finds_out_that_the_account_works_again(
    house: House, code: str
) -> None:
    engine = house.start()
    jobs = [await ask(engine) for _ in range(JOBS)]
    house.vendor.submit = REFUSALS[code]
    await run(engine, What.SUBMIT)
    before = len(house.vendor.by("submit"))
    waits = []
    for number in (1, 2):
        await time_passes(engine)
        await run(engine, What.SUBMIT)
        assert len(house.vendor.by("submit")) == before + number
        (rule,) = await engine.database.fetch(
            "SELECT probes, extract(epoch FROM probe_at - now())::float8 AS wait FROM account_rule"
        )
        assert rule["probes"] == number + 1
        waits.append(rule["wait"])
    assert waits[0] < waits[1] or code == "provider_rate_limited"
    assert all(25 < wait < 3700 for wait in waits)

    # When the provider takes the next, then the others follow, and each is paid for once
    house.vendor.submit = None
    await time_passes(engine)
    for _ in range(6):
        await run(engine, What.SUBMIT, What.POLL, What.STORE)
    assert [(await view_of(engine, job))["status"] for job in jobs] == ["complete"] * JOBS
    assert len(house.vendor.by("submit")) == before + 2 + JOBS
    assert (await listed(engine)).blocked_at is None
    assert await engine.database.fetch("SELECT 1 FROM account_rule") == []


async def test_what_waited_is_back_at_its_place(house: House) -> None:
    engine = house.start()
    for priority in ("low", "high", "normal", "high", "low"):
        await ask(engine, priority=priority)
    before = await places(engine)
    house.vendor.submit = REFUSALS["provider_auth"]
    await run_in_order(engine)
    assert (
        await engine.database.fetch("SELECT 1 FROM due WHERE what = 'submit' AND at <= now()") == []
    )

    await resume(engine, "runway", whole=False)
    assert await places(engine) == before


async def run_in_order(engine: Engine) -> None:
    """A pump of the account, over what is due as it is."""
    await Pump(verb_for(What.SUBMIT, engine), engine.database, "runway", seconds=0.05).run()


async def test_an_operator_ends_a_block_at_once(house: House) -> None:
    engine = house.start()
    job = await ask(engine)
    house.vendor.submit = REFUSALS["provider_quota"]
    await run(engine, What.SUBMIT)
    house.vendor.submit = None
    assert await resume(engine, "runway", whole=True) == ["runway"]
    await run_in_order(engine)
    await run(engine, What.POLL, What.STORE)

    view = await view_of(engine, job)
    assert (view["status"], "waiting" in view) == ("complete", False)
    assert house.vendor.by("submit") == ["runway"] * 2


async def test_a_block_ends_at_once_and_what_waited_follows_in_slices(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = house.start()
    for _ in range(5):
        await ask(engine)
    before = await places(engine)
    house.vendor.submit = REFUSALS["provider_auth"]
    await run_in_order(engine)
    seen: list[tuple[bool, int]] = []
    wake_next = waking.wake_next

    async def watched(connection: Connection, *, account: str, after: str) -> str | None:
        is_blocked = (await listed(engine)).blocked_at is not None  # as others see it
        last = await wake_next(connection, account=account, after=after)
        (row,) = await engine.database.fetch("SELECT count(*) FROM due WHERE at <= now()")
        seen.append((is_blocked, row["count"]))
        return last

    monkeypatch.setattr(waking, "SLICE", 2)
    monkeypatch.setattr(waking, "wake_next", watched)
    await resume(engine, "runway", whole=False)

    assert seen == [(False, 0), (False, 2), (False, 4)]
    assert await places(engine) == before


async def test_an_attempt_that_finds_the_wait_over_is_due_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends a wait wakes no row that is being worked on."""
    engine = house.start()
    await ask(engine)
    await pause(engine, "runway")
    obstacle_of = Submit._obstacle  # noqa: SLF001 - what it finds is to be out of date

    async def late(verb: Submit, item: SubmitItem) -> Obstacle | None:
        if found := await obstacle_of(verb, item):
            await resume(engine, "runway", whole=True)
        return found

    monkeypatch.setattr(Submit, "_obstacle", late)
    for _ in range(2):
        await run_in_order(engine)

    assert house.vendor.by("submit") == ["runway"]


async def test_jobs_of_a_refused_account_move_to_another_one(house: House) -> None:
    engine = house.start(**TEAM)
    jobs = [await ask(engine), await ask(engine)]
    house.vendor.refused = {"runway"}
    await run(engine, What.SUBMIT, What.SUBMIT, *LIFE)

    assert [(await view_of(engine, job))["status"] for job in jobs] == ["complete"] * 2
    assert {one["code"] for one in await events(engine, "attempt.moved")} == {"provider_auth"}
    # And new jobs pass the account over, until it is to be probed
    accounts = "SELECT account FROM attempt WHERE job = %s"
    third = await ask(engine)
    assert await engine.database.fetch(accounts, (third,)) == [{"account": "runway:team"}]
    await time_passes(engine)
    fourth = await ask(engine)
    assert await engine.database.fetch(accounts, (fourth,)) == [{"account": "runway"}]


async def test_jobs_of_gates_do_not_wait(house: House) -> None:
    engine = house.start()
    gate = {"name": "shop", "model": "gen4.5", "strategy": "fallback"}
    await gates.create(
        engine, GateRequest.from_json(gate | {"fallback_models": ["ray-3.2"]}), tenant="default"
    )
    jobs = [await ask(engine, gate="shop") for _ in range(JOBS)]
    house.vendor.refused = {"runway"}
    for _ in range(6):
        await run(engine, What.SUBMIT, *LIFE)

    views = [await view_of(engine, job) for job in jobs]
    assert [view["perf"]["model_used"] for view in views] == ["ray-3.2"] * JOBS
    assert {view["hops"][0]["code"] for view in views} == {"provider_auth"}
    assert len(house.vendor.by("submit")) <= AT_ONCE


async def test_an_attempt_that_is_refused_beside_others_waits_alone(house: House) -> None:
    """Such as one whose model the account's plan lacks."""
    engine = house.start()
    first = await ask(engine)
    house.vendor.submit = REFUSALS["provider_auth"]
    await run(engine, What.SUBMIT)
    assert (await listed(engine)).blocked_at is not None
    # When the account takes another, and refuses the first again
    await resume(engine, "runway", whole=False)
    await engine.database.fetch("UPDATE due SET at = now() + interval '1 h' WHERE what = 'submit'")
    house.vendor.submit = None
    await ask(engine)
    await run_in_order(engine)
    house.vendor.submit = REFUSALS["provider_auth"]
    await run(engine, What.SUBMIT)

    assert (await listed(engine)).blocked_at is None
    assert (await view_of(engine, first))["waiting"]["code"] == "provider_auth"
    # Then the account takes jobs as before
    house.vendor.submit = None
    await ask(engine)
    await run_in_order(engine)
    assert [state for _, state in await rows(engine)] == ["planned", "accepted", "accepted"]


async def test_those_that_were_never_refused_probe_first(house: House) -> None:
    engine = house.start()
    await ask(engine)
    house.vendor.submit = REFUSALS["provider_auth"]
    await run_in_order(engine)
    await ask(engine)
    await run_in_order(engine)  # it finds the account blocked
    await time_passes(engine)
    await run(engine, What.SUBMIT)

    # Then, once nobody works on either, the one with the fewest refusals is summoned
    await engine.database.run(lambda on: summon(on, "runway", wait=-1))
    probes = "SELECT attempt.refusals FROM due JOIN attempt USING (id) WHERE due.at < now()"
    refusals = "SELECT refusals FROM attempt ORDER BY id"
    told = [row["refusals"] for row in await engine.database.fetch(refusals)]
    assert sorted(told) in ([0, 2], [1, 1])
    assert [row["refusals"] for row in await engine.database.fetch(probes)] == [min(told)]


async def test_a_probe_without_an_answer_leaves_the_block_to_the_next(house: House) -> None:
    engine = house.start()
    await ask(engine)
    house.vendor.submit = REFUSALS["provider_auth"]
    await run(engine, What.SUBMIT)
    house.vendor.submit = Unanswered("no answer within 30 s")
    await time_passes(engine)
    await run(engine, What.SUBMIT)

    (rule,) = await engine.database.fetch(
        "SELECT probe_by, probe_at - now() < interval '31 s' AS is_soon FROM account_rule"
    )
    assert rule == {"probe_by": None, "is_soon": True}
    assert await rows(engine) == [("runway", "unknown")]


async def test_the_next_probe_is_of_a_tenant_that_was_not_refused(house: House) -> None:
    """So one tenant's model that the provider refuses does not keep the block for others."""
    engine = house.start()
    for _ in range(3):
        await ask(engine)
    house.vendor.submit = REFUSALS["provider_auth"]
    await run(engine, What.SUBMIT)
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('quiet')")
    request = VideoRequest.from_json({"prompt": "the sea"})
    quiet = (await accept(engine, request, tenant="quiet")).job_id
    await run(engine, What.SUBMIT)

    await engine.database.run(lambda connection: summon(connection, "runway", wait=0))

    (first,) = await engine.database.fetch(
        "SELECT job FROM due JOIN attempt USING (id) WHERE what = 'submit' ORDER BY at LIMIT 1"
    )
    assert first["job"] == quiet


async def test_a_model_that_is_refused_blocks_no_account_that_took_another(house: House) -> None:
    engine = house.start()
    await ask(engine, model="gen4.5")
    await run(engine, What.SUBMIT)
    house.vendor.submit = REFUSALS["provider_auth"]
    await ask(engine, model="gen4_turbo", image="https://pictures.example/a.png")
    await run(engine, What.SUBMIT)

    assert len(house.vendor.by("submit")) == 2
    assert (await listed(engine)).blocked_at is None
    (waits,) = await engine.database.fetch("SELECT refusals FROM attempt WHERE refusals > 0")
    assert waits == {"refusals": 1}


async def test_a_429_costs_a_job_neither_its_place_nor_its_turn(house: House) -> None:
    engine = house.start()
    for priority in ("high", "normal", "low"):
        await ask(engine, priority=priority)
    before = await places(engine)
    at = "SELECT id, at FROM due WHERE what = 'submit' ORDER BY at, id"
    times = await engine.database.fetch(at)
    house.vendor.submit = said(429, {"error": "slow down"}, **{"retry-after": "30"})
    await run_in_order(engine)

    assert house.vendor.by("submit")
    assert await places(engine) == before
    assert await engine.database.fetch(at) == times
    assert (await listed(engine)).blocked_at is None


async def test_a_lane_stays_slow_from_pump_to_pump(house: House) -> None:
    engine = house.start()
    await ask(engine)
    house.vendor.submit = said(429, {"error": "slow down"}, **{"retry-after": "30"})
    notes = pace_of(What.SUBMIT, replace(engine, accounts=dict(engine.accounts)), "runway")
    assert notes is not None
    assert notes is pace_of(What.SUBMIT, engine, "runway")
    for _ in range(3):
        verb = verb_for(What.SUBMIT, engine)
        await Pump(verb, engine.database, "runway", seconds=0.05, pace=notes.pace).run()
    assert house.vendor.by("submit") == ["runway"]


async def test_a_process_takes_over_what_another_was_answered(house: House) -> None:
    engine = house.start()

    def process() -> LaneNotes:
        return LaneNotes(
            database=engine.database,
            what=What.SUBMIT,
            lane="runway",
            pace=Pace(16, clock=lambda: clock),
            ours=uuid4(),
        )

    clock = 0.0
    first, second = process(), process()
    await first.exchange()
    assert await engine.database.fetch("SELECT * FROM lane_pace") == []

    # When one is answered with 429, then the other pauses and is as slow
    first.pace.was_limited(9)
    await first.exchange()
    await second.exchange()
    assert second.pace.limit == 0
    assert 8 < second.pace.paused_for <= 9
    assert second.pace.share == 0.5

    # And it grows again by itself: what it has taken over once is no news
    clock = 10.0
    second.pace.went_well()
    await second.exchange()
    assert second.pace.limit == 8
    assert second.pace.share > 0.5

    # And what a process noted grows old once it has no work
    clock = 100.0
    before = await engine.database.fetch("SELECT noted_at FROM lane_pace")
    await first.exchange()
    assert await engine.database.fetch("SELECT noted_at FROM lane_pace") == before

    # And once the first is at full speed again after another 429, nothing is noted any more
    first.pace.was_limited(1)
    await first.exchange()
    clock = 110.0
    for _ in range(200):
        first.pace.went_well()
    await first.exchange()
    assert await engine.database.fetch("SELECT * FROM lane_pace") == []


async def test_a_429_for_a_gathered_poll_counts_once(house: House) -> None:
    limited = Failure(
        fault=Fault.RATE, code="provider_rate_limited", message="slow down", retry_after=86_400
    )
    asked = []

    class Upstream:
        provider = SimpleNamespace(capabilities=Capabilities(poll_many=30))

        def asker(self) -> None:
            """Gathered polls are not asked for one by one."""

        async def poll(self, operations: list[str]) -> dict[str, Update]:
            asked.append(len(operations))
            raise ProviderError(limited, status=429)

    now = [0.0]
    poll, pace = Poll(engine=house.start()), Pace(64, clock=lambda: now[0])
    with patch.object(Engine, "upstream", lambda *_: Upstream()):
        seen = await asyncio.gather(
            *(poll.act(operation(number), Hold("", pace)) for number in range(30))
        )
    now[0] = 100.0
    assert (asked, pace.limit) == ([30], 32)
    # And a wait until tomorrow is not obeyed past the job's deadline, nor for more than minutes
    assert {one.fault for one in seen} == {limited}
    assert max(one.wait for one in seen) <= 300


def operation(number: int) -> PollItem:
    return PollItem(
        id=f"att_{number}",
        job="job",
        tenant="default",
        account="kling",
        operation_id=str(number),
        route="kling/kling-3.0/5s",
        elapsed=1.0,
        typical=60.0,
        poll_faults=0,
        denied_for=None,
        estimate=1,
        is_wanted=True,
        shows_reports=True,
        time_left=3600.0,
        last_fault=None,
    )
