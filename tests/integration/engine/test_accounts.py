"""Accounts that are paused or capped: nothing is sent by them, and what was sent stays theirs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from catalog.models import Catalog
from models import accounts as rules
from models.database import Connection
from models.gate import GateRequest
from models.invariants import violations
from models.rows.accounts import CapPeriod
from models.verbs import What
from tasks import gates
from tasks.jobs import cancel
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.retention import prune_once
from tasks.verbs import submit as submit_verb
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import said
from tests.integration.engine.house import (
    LIFE,
    PRICE,
    TEAM,
    House,
    ask,
    cap,
    events,
    housed,
    pause,
    resume,
    rows,
    run,
    view_of,
)
from tests.integration.engine.waiting import until
from transport.base import NotSent

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(make_engine: MakeEngine, anyio_backend: str) -> AsyncIterator[House]:
    async with housed(make_engine) as house:
        yield house


# -- several accounts ---------------------------------------------------------------------------


async def test_jobs_are_shared_by_weight_and_stay_with_their_account(house: House) -> None:
    numbers = iter([0.0, 0.24, 0.26, 0.99])
    engine = house.start(**TEAM)
    weights = Catalog(engine.catalog.by_name, {"runway:team": 3.0})
    engine = replace(engine, catalog=weights, dice=lambda: next(numbers))
    for _ in range(4):
        await ask(engine)
    await run(engine, *LIFE)

    expected = ["runway", "runway", "runway:team", "runway:team"]
    assert await rows(engine) == [(account, "succeeded") for account in expected]
    for kind in ("submit", "poll"):
        assert sorted(house.vendor.by(kind)) == expected


async def test_an_account_of_weight_0_gets_no_new_jobs_and_keeps_its_own(house: House) -> None:
    before = house.start(**TEAM)
    await ask(before)
    await run(before, What.SUBMIT)
    after = replace(before, catalog=Catalog(before.catalog.by_name, {"runway": 0.0}))
    await ask(after)
    await run(after, *LIFE)

    assert await rows(after) == [("runway", "succeeded"), ("runway:team", "succeeded")]
    assert sorted(house.vendor.by("poll")) == ["runway", "runway:team"]


@pytest.mark.parametrize("held", ["paused", "paused whole", "capped"])
async def test_intake_passes_over_an_account_that_takes_nothing(house: House, held: str) -> None:
    engine = house.start(**TEAM)
    match held:
        case "paused":
            await pause(engine, "runway")
        case "paused whole":
            await pause(engine, "runway", whole=True)
        case _:
            await cap(engine, PRICE - 1)
    await ask(engine)

    # Then the other takes it; where all are paused, the choice is as ever and the job waits
    expected = "runway" if held == "paused whole" else "runway:team"
    assert await rows(engine) == [(expected, "planned")]


# -- paused and capped --------------------------------------------------------------------------


async def test_a_paused_account_leaves_its_jobs_to_the_gates_next_model(house: House) -> None:
    engine = house.start()
    gate = {"name": "shop", "model": "gen4.5", "strategy": "fallback"}
    await gates.create(
        engine, GateRequest.from_json(gate | {"fallback_models": ["ray-3.2"]}), tenant="default"
    )
    job = await ask(engine, gate="shop")
    await pause(engine, "runway", whole=True, reason="the vendor is down")
    await run(engine, What.SUBMIT, *LIFE)

    view = await view_of(engine, job)
    assert (view["status"], view["perf"]["model_used"]) == ("complete", "ray-3.2")
    (hop,) = view["hops"]
    assert (hop["from_model"], hop["to_model"], hop["code"]) == ("gen4.5", "ray-3.2", "paused")
    assert house.vendor.by("submit") == []  # Runway was asked for nothing


@pytest.mark.parametrize("held", ["paused", "capped"])
async def test_a_planned_attempt_moves_to_another_account_and_stays_there(
    house: House, held: str
) -> None:
    engine = house.start(**TEAM)
    job = await ask(engine)
    assert await rows(engine) == [("runway", "planned")]
    await (pause(engine, "runway") if held == "paused" else cap(engine, 1))
    await run(engine, What.SUBMIT, *LIFE)

    assert (await view_of(engine, job))["status"] == "complete"
    assert house.vendor.by("submit") == house.vendor.by("poll") == ["runway:team"]
    (moved,) = await events(engine, "attempt.moved")
    assert (moved["from"], moved["to"], moved["code"]) == ("runway", "runway:team", held)


async def test_an_attempt_that_was_tried_before_does_not_move(house: House) -> None:
    engine = house.start(**TEAM)
    await ask(engine)
    house.vendor.submit = NotSent("connection refused")
    await run(engine, What.SUBMIT)
    house.vendor.submit = None
    await pause(engine, "runway")
    await run(engine, What.SUBMIT)

    assert await rows(engine) == [("runway", "planned")]
    assert len(await events(engine, "attempt.waits")) == 1


async def test_a_job_that_waits_tells_why_and_goes_on_when_it_is_resumed(house: House) -> None:
    engine = house.start()
    job = await ask(engine)
    await pause(engine, "runway", whole=True, reason="the invoice is late")
    for _ in range(2):
        await run(engine, What.SUBMIT)

    # Then its owner sees the code, operators see the reason, once
    view = await view_of(engine, job)
    assert (view["status"], view["waiting"]["code"]) == ("pending", "paused")
    assert "invoice" not in str(view)
    (told,) = await events(engine, "attempt.waits")
    assert (told["account"], told["reason"]) == ("runway", "the invoice is late")
    (listed,) = await engine.database.run(lambda on: rules.list_accounts(on, ["runway"]))
    assert (listed.pause_reason, listed.waiting, listed.unfinished) == ("the invoice is late", 1, 1)
    assert house.vendor.asked == []

    # When it is resumed, then it is due at once and paid for once
    assert await resume(engine, "runway", whole=True)
    await Pump(verb_for(What.SUBMIT, engine), engine.database, "runway", seconds=0.05).run()
    await run(engine, What.POLL, What.STORE)
    view = await view_of(engine, job)
    assert (view["status"], "waiting" in view) == ("complete", False)
    assert house.vendor.by("submit") == ["runway"]


async def test_a_pause_ends_by_itself(house: House) -> None:
    engine = house.start()
    await ask(engine)
    await pause(engine, "runway", seconds=30)
    await run(engine, What.SUBMIT)
    (waits,) = await engine.database.fetch(
        "SELECT extract(epoch FROM at - now()) AS seconds FROM due WHERE what = 'submit'"
    )
    assert 10 < waits["seconds"] < 31
    await engine.database.fetch("UPDATE account_rule SET paused_until = now()")
    await run(engine, What.SUBMIT)
    assert house.vendor.by("submit") == ["runway"]


async def test_what_was_sent_goes_on_while_its_account_is_paused(house: House) -> None:
    engine = house.start(**TEAM)
    done, stopped = await ask(engine), await ask(engine)
    await run(engine, What.SUBMIT)
    await pause(engine, "runway")
    await cancel(engine, stopped, tenant="default")
    await run(engine, What.POLL, What.STORE, What.CANCEL)

    assert (await view_of(engine, done))["status"] == "complete"
    assert (await view_of(engine, stopped))["status"] == "cancelled"
    assert {account for _, account in house.vendor.asked} == {"runway"}
    assert house.vendor.by("cancel") == ["runway"]


async def test_a_pause_stops_attempts_that_were_loaded_before_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = house.start()
    await ask(engine)
    monkeypatch.setattr(submit_verb, "HAS_RULE", "false")  # as it was when they were loaded
    await pause(engine, "runway")
    await run(engine, What.SUBMIT)
    assert (await rows(engine), house.vendor.asked) == ([("runway", "planned")], [])


# -- caps ---------------------------------------------------------------------------------------


async def test_a_cap_is_exact_under_eight_pumps_of_eight_processes(house: House) -> None:
    engines = [house.start() for _ in range(8)]
    for _ in range(16):
        await ask(engines[0])
    await cap(engines[0], 5 * PRICE + PRICE // 2)
    pumps = [
        Pump(verb_for(What.SUBMIT, each), each.database, "runway", seconds=0.5) for each in engines
    ]
    await asyncio.gather(*(pump.run() for pump in pumps))

    # Then exactly as many were sent as fit
    assert len(house.vendor.by("submit")) == 5
    states = [state for _, state in await rows(engines[0])]
    assert (states.count("accepted"), states.count("planned")) == (5, 11)
    told = await events(engines[0], "attempt.waits")
    assert {each["code"] for each in told} == {"capped"}
    assert "cap of $3.3 per day" in told[-1]["reason"]


async def test_what_costs_nothing_makes_room_again(house: House) -> None:
    engine = house.start()
    await cap(engine, PRICE)
    first, second = await ask(engine), await ask(engine)
    house.vendor.submit = said(400, {"error": "no"})
    await run(engine, What.SUBMIT, What.SUBMIT)  # one after the other is refused, and costs nothing
    assert (await view_of(engine, first))["status"] == "failed"
    house.vendor.submit = None
    third = await ask(engine)
    await run(engine, *LIFE)

    assert (await view_of(engine, second))["status"] == "failed"
    assert (await view_of(engine, third))["status"] == "complete"


async def test_a_cap_below_what_is_spent_stops_everything_and_is_no_contradiction(
    house: House,
) -> None:
    engine = house.start()
    await ask(engine)
    await run(engine, *LIFE)
    await cap(engine, 1)
    await ask(engine)
    await run(engine, What.SUBMIT)

    assert await engine.database.run(violations) == []
    assert house.vendor.by("submit") == ["runway"]


async def test_setting_a_cap_waits_for_submits_that_did_not_see_it(house: House) -> None:
    engine, other = house.start(), house.start()
    await ask(engine)
    (attempt,) = await engine.database.fetch("SELECT id FROM attempt")
    checked, go_on = asyncio.Event(), asyncio.Event()

    async def submit(connection: Connection) -> None:
        permit = await rules.permit_to_send(
            connection, "runway", provider="runway", attempt=attempt["id"], lock=True
        )
        assert isinstance(permit, rules.Permit)
        checked.set()
        await go_on.wait()

    sending = asyncio.create_task(engine.database.run(submit))
    await checked.wait()
    capping = asyncio.create_task(cap(other, 1))

    async def waits() -> bool:
        sql = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'account_rule'::regclass"
        return bool(await engine.database.fetch(sql))

    await until(waits)
    assert not capping.done()
    go_on.set()
    await asyncio.gather(sending, capping)


async def test_a_cap_of_all_time_counts_jobs_that_were_deleted_since(house: House) -> None:
    engine = house.start(LONGTAKE_KEEP_JOBS_DAYS=1)
    await engine.database.run(
        lambda on: rules.set_cap(on, "runway", micros=PRICE, period=CapPeriod.TOTAL)
    )
    await ask(engine)
    await run(engine, *LIFE)
    await engine.database.fetch("UPDATE job SET finished_at = now() - interval '2 days'")
    assert (await prune_once(engine)).jobs == 1
    await ask(engine)
    await run(engine, What.SUBMIT)

    assert house.vendor.by("submit") == ["runway"]
    (listed,) = await engine.database.run(lambda on: rules.list_accounts(on, ["runway"]))
    assert listed.spent_micros == PRICE


async def test_jobs_that_a_cap_still_counts_are_kept_until_its_period_is_over(
    house: House,
) -> None:
    engine = house.start(LONGTAKE_KEEP_JOBS_DAYS=1)
    await cap(engine, PRICE)
    await ask(engine)
    await run(engine, *LIFE)
    await engine.database.fetch("UPDATE job SET finished_at = now() - interval '2 days'")
    assert (await prune_once(engine)).jobs == 0

    await engine.database.fetch("UPDATE attempt SET sent_at = sent_at - interval '1 day'")
    assert (await prune_once(engine)).jobs == 1
    await ask(engine)
    await run(engine, What.SUBMIT)  # another day, another cap
    assert house.vendor.by("submit") == ["runway", "runway"]


async def test_the_deadline_ends_a_job_that_waits(house: House) -> None:
    engine = house.start()
    job = await ask(engine)
    await pause(engine, "runway")
    await run(engine, What.SUBMIT)
    await engine.database.fetch("UPDATE job SET deadline_at = now()")
    await run(engine, What.EXPIRE)

    view = await view_of(engine, job)
    assert (view["status"], view["error"]["code"]) == ("failed", "deadline_exceeded")
    assert "waiting" not in view
    assert house.vendor.asked == []


async def test_what_the_vendor_charged_beyond_its_estimate_counts(house: House) -> None:
    engine = house.start()
    await ask(engine)
    await run(engine, *LIFE)
    await cap(engine, 3 * PRICE)
    await engine.database.fetch("UPDATE attempt SET cost_micros = %s", (3 * PRICE,))
    await ask(engine)
    await run(engine, What.SUBMIT)
    assert house.vendor.by("submit") == ["runway"]
    await engine.database.fetch("UPDATE attempt SET cost_micros = NULL")


async def test_room_at_one_account_wakes_what_waits_for_another(house: House) -> None:
    engine = house.start(**TEAM)
    await pause(engine, "runway")
    await cap(engine, 1, "runway:team")
    await ask(engine)
    await run(engine, What.SUBMIT)
    assert await rows(engine) == [("runway", "planned")]

    await cap(engine, PRICE, "runway:team")
    for lane in ("runway", "runway:team"):
        await Pump(verb_for(What.SUBMIT, engine), engine.database, lane, seconds=0.05).run()
    assert house.vendor.by("submit") == ["runway:team"]
