"""Money moves with the states: reserved at submission, charged or released at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from models.budgets import balances, deposit, list_budgets, remove_budget, set_budget
from models.database import Connection, Database
from models.failure import RequestRefused
from models.gate import GateRequest
from models.invariants import violations
from models.keys import create_key
from models.request import VideoRequest
from models.rows.money import Period, Scope
from models.state import JobState
from models.verbs import What
from tasks import gates
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.repeats import Caller, canonical_hash
from tasks.upkeep.overlooked import charge_overlooked, enter_overlooked
from tasks.upkeep.reconcile import settle_absent
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, Script, facing
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio

BODY = {"prompt": "a quiet sea", "model": "gen4.5", "duration_seconds": 5}


@pytest.fixture
def vendor() -> Script:
    return Script()


@pytest.fixture
async def engine(make_engine: MakeEngine, vendor: Script) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), FarSide(vendor.reply))
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def ask(engine: Engine, *, caller: Caller | None = None, **fields: Any) -> str:
    request = VideoRequest.from_json(BODY | fields)
    return (await accept(engine, request, tenant="default", caller=caller)).job_id


async def run(engine: Engine, *kinds: What) -> None:
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s' WHERE what = %s", (what,)
        )
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def cancel(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


async def price(engine: Engine, job: str) -> int:
    (row,) = await engine.database.fetch(
        "SELECT estimated_cost_micros FROM job WHERE id=%s", (job,)
    )
    return int(row["estimated_cost_micros"])


async def ledger(engine: Engine) -> dict[str, int]:
    """What is in each account, without those that are empty."""
    rows = await engine.database.fetch(
        "SELECT account, sum(amount_micros)::bigint AS amount FROM ledger_entry GROUP BY account"
    )
    return {row["account"]: row["amount"] for row in rows if row["amount"]}


async def limit(engine: Engine, micros: int, **named: Any) -> None:
    budget = {"scope": Scope.TENANT, "subject": "default", "period": Period.DAY} | named
    await engine.database.run(
        lambda connection: set_budget(connection, "default", limit_micros=micros, **budget)
    )


async def is_waiting(engine: Engine, other: asyncio.Task[Any]) -> bool:
    """Whether another transaction waits for a lock; the task must not have ended without one."""
    assert not other.done()
    rows = await engine.database.fetch(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    return bool(rows)


async def refusal(engine: Engine, **given: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        await ask(engine, **given)
    assert refused.value.type == "insufficient_balance"
    return refused.value


# -- the ledger ----------------------------------------------------------------------------------


async def test_a_submission_reserves_and_a_stored_video_spends(engine: Engine) -> None:
    job = await ask(engine)
    cost = await price(engine, job)
    assert await ledger(engine) == {"tenant:available": -cost, "tenant:reserved": cost}

    await run(engine, What.SUBMIT, What.POLL, What.STORE)

    assert await ledger(engine) == {"tenant:available": -cost, "tenant:spent": cost}


async def test_a_failed_job_releases_everything(engine: Engine, vendor: Script) -> None:
    await ask(engine)
    vendor.words["poll"] = "failed"
    await run(engine, What.SUBMIT, What.POLL)
    assert await ledger(engine) == {}


async def test_a_job_that_is_cancelled_before_it_is_sent_costs_nobody(engine: Engine) -> None:
    job = await ask(engine, count=2)
    await cancel(engine, job)
    assert await ledger(engine) == {}


async def test_of_two_videos_the_one_that_came_is_spent(engine: Engine, vendor: Script) -> None:
    job = await ask(engine, count=2)
    await run(engine, What.SUBMIT)
    await engine.database.fetch(
        """
        UPDATE due SET at = now() + CASE id WHEN (SELECT max(id) FROM due WHERE what = 'poll')
                                            THEN interval '1 h' ELSE interval '-1 s' END
        WHERE what = 'poll'
        """
    )
    await Pump(verb_for(What.POLL, engine), engine.database, None, seconds=0.05).run()
    vendor.words["poll"] = "failed"
    await run(engine, What.POLL, What.STORE)

    half = await price(engine, job) // 2
    assert await ledger(engine) == {"tenant:available": -half, "tenant:spent": half}


async def test_an_attempt_in_doubt_is_ours_until_it_is_settled(
    engine: Engine, vendor: Script
) -> None:
    job = await ask(engine)
    vendor.words["submit"] = "lost"
    await run(engine, What.SUBMIT)
    cost = await price(engine, job)
    assert await ledger(engine) == {"operator:absorbed": cost, "operator:provider": -cost}

    (attempt,) = await engine.database.fetch("SELECT id FROM attempt")
    await settle_absent(engine, attempt["id"])

    assert await ledger(engine) == {}


async def test_what_a_cancelled_operation_costs_us_is_absorbed_when_it_is_known(
    engine: Engine,
) -> None:
    job = await ask(engine)
    await run(engine, What.SUBMIT)
    await cancel(engine, job)
    assert await ledger(engine) == {}

    await run(engine, What.CANCEL)

    (attempt,) = await engine.database.fetch("SELECT state, cost_micros FROM attempt")
    assert attempt["state"] == "cancelled"
    cost = attempt["cost_micros"]
    assert cost > 0
    assert await ledger(engine) == {"operator:absorbed": cost, "operator:provider": -cost}


async def test_a_video_that_was_made_and_never_stored_is_absorbed(engine: Engine) -> None:
    job = await ask(engine)
    await run(engine, What.SUBMIT, What.POLL)
    await cancel(engine, job)
    cost = await price(engine, job)
    assert await ledger(engine) == {"operator:absorbed": cost, "operator:provider": -cost}


async def test_an_overrun_is_absorbed_and_never_the_users(engine: Engine) -> None:
    job = await ask(engine)
    await run(engine, What.SUBMIT, What.POLL)
    await engine.database.fetch("UPDATE attempt SET cost_micros = %s", (5_000_000,))
    await run(engine, What.STORE)

    cost = await price(engine, job)
    over = 5_000_000 - cost
    assert await ledger(engine) == {
        "tenant:available": -cost,
        "tenant:spent": cost,
        "operator:absorbed": over,
        "operator:provider": -over,
    }


async def test_a_repeated_request_reserves_once(engine: Engine) -> None:
    caller = Caller(idempotency_key="k", body_hash=canonical_hash(BODY))
    jobs = await asyncio.gather(*(ask(engine, caller=caller) for _ in range(8)))
    assert (await ledger(engine))["tenant:reserved"] == await price(engine, jobs[0])

    named = [
        accept(engine, VideoRequest.from_json(BODY), tenant="default", job_id="mine")
        for _ in range(8)
    ]
    await asyncio.gather(*named)
    assert (await ledger(engine))["tenant:reserved"] == 2 * await price(engine, jobs[0])


@pytest.mark.parametrize("sql", ["UPDATE ledger_entry SET at = now()", "DELETE FROM ledger_entry"])
async def test_entries_are_never_changed(engine: Engine, sql: str) -> None:
    await ask(engine)
    with pytest.raises(psycopg.errors.RaiseException, match="never changed and never deleted"):
        await engine.database.fetch(sql)


async def ended_by_an_older_worker(engine: Engine, job: str) -> None:
    """As a version without a ledger cancels a job."""
    for sql in (
        "UPDATE job SET state = 'cancelled', cost_micros = 0 WHERE id = %(job)s",
        "UPDATE job SET finished_at = now() WHERE id = %(job)s",
        "UPDATE attempt SET state = 'cancelled', finished_at = now() WHERE job = %(job)s",
        "UPDATE output SET state = 'failed', error = '{}' WHERE job = %(job)s",
        "INSERT INTO event (job, kind) VALUES (%(job)s, 'cancelled')",
        "DELETE FROM due WHERE %(job)s::text IS NOT NULL",
    ):
        await engine.database.fetch(sql, {"job": job})


async def test_a_job_that_an_older_worker_ended_is_charged_later(engine: Engine) -> None:
    job = await ask(engine)
    await limit(engine, 10**9)
    await ended_by_an_older_worker(engine, job)
    assert {each.kind for each in await engine.database.run(violations)} == {
        *("ledger_of_job", "usage_untrue")
    }

    assert await engine.database.run(charge_overlooked) == (1, False)
    assert await engine.database.run(enter_overlooked) == (1, False)

    assert await ledger(engine) == {}
    assert await engine.database.run(charge_overlooked) == (0, False)
    assert await engine.database.run(enter_overlooked) == (0, False)


async def test_two_workers_that_charge_what_was_overlooked_charge_it_once(engine: Engine) -> None:
    job = await ask(engine)
    await ended_by_an_older_worker(engine, job)
    async with engine.database.transaction() as connection:
        assert await charge_overlooked(connection) == (1, False)
        other = asyncio.create_task(engine.database.run(charge_overlooked))
        await until(lambda: is_waiting(engine, other))

    assert await other == (0, False)
    assert await ledger(engine) == {}
    await engine.database.run(enter_overlooked)


async def test_two_workers_that_enter_what_was_overlooked_enter_it_once(engine: Engine) -> None:
    await ended_by_an_older_worker(engine, await ask(engine))
    async with engine.database.transaction() as connection:
        assert await enter_overlooked(connection) == (1, False)
        other = asyncio.create_task(engine.database.run(enter_overlooked))
        await until(lambda: is_waiting(engine, other))

    assert await other == (0, False)
    assert (await engine.database.fetch("SELECT count(*) AS n FROM job_usage"))[0]["n"] == 1
    await engine.database.run(charge_overlooked)


# -- balances and budgets ------------------------------------------------------------------------


async def test_a_prepaid_tenant_spends_what_it_deposited_and_no_more(engine: Engine) -> None:
    cost = await price(engine, await ask(engine))
    await engine.database.run(lambda c: deposit(c, "default", 2 * cost + 1, id_="dep_1"))
    await ask(engine)  # what the first one reserved is taken from the deposit too

    refused = await refusal(engine)

    assert refused.code == "insufficient_balance"
    dollars = cost / 1_000_000
    assert refused.message == (
        f"the balance of tenant default is $0.000001: of ${2 * dollars:.2f}0001 deposited, "
        f"$0.00 is spent and ${2 * dollars:.2f} reserved; this request asks for ${dollars:.2f}"
    )
    rows = await engine.database.fetch("SELECT count(*) AS jobs FROM job")
    assert rows[0]["jobs"] == 2


async def test_what_a_job_releases_can_be_spent_again(engine: Engine) -> None:
    job = await ask(engine)
    await limit(engine, await price(engine, job))
    await refusal(engine)

    await cancel(engine, job)

    await ask(engine)


async def test_a_refused_request_names_the_limit_its_use_and_its_end(engine: Engine) -> None:
    cost = await price(engine, await ask(engine))
    await run(engine, What.SUBMIT, What.POLL, What.STORE)
    await limit(engine, 3 * cost - 1, scope=Scope.APP, subject="shop")
    await ask(engine, caller=Caller(app_id="shop"))
    await run(engine, What.SUBMIT, What.POLL, What.STORE)
    await ask(engine, caller=Caller(app_id="shop"))

    refused = await refusal(engine, caller=Caller(app_id="shop"))

    (budget,) = await engine.database.run(list_budgets)
    assert budget.resets_at is not None
    assert budget.resets_at > datetime.now(UTC)
    one = f"${cost / 1_000_000:.2f}"
    assert refused.code == "budget_exceeded"
    assert refused.message.startswith("the daily budget of app shop is $")
    assert refused.message.endswith(
        f": {one} is spent and {one} reserved; this request asks for {one}; "
        f"it resets at {budget.resets_at:%Y-%m-%d}T00:00:00Z"
    )


@pytest.mark.parametrize("period", [Period.DAY, Period.MONTH, Period.TOTAL])
async def test_a_budget_counts_its_own_jobs_alone(engine: Engine, period: Period) -> None:
    key, _ = await engine.database.run(lambda c: create_key(c, "default"))
    cost = await price(engine, await ask(engine))
    await limit(engine, cost, scope=Scope.KEY, subject=key, period=period)
    await limit(engine, cost, scope=Scope.APP, subject="shop", period=period)

    await ask(engine, caller=Caller(api_key=key, app_id="other"))
    await refusal(engine, caller=Caller(api_key=key))
    await ask(engine, caller=Caller(app_id="shop"))
    await refusal(engine, caller=Caller(app_id="shop"))
    await ask(engine)
    await engine.database.run(
        lambda c: remove_budget(c, "default", scope=Scope.KEY, subject=key, period=period)
    )
    await ask(engine, caller=Caller(api_key=key))


async def test_a_day_counts_from_midnight_and_all_time_from_the_first_job(engine: Engine) -> None:
    await engine.database.fetch(
        """
        INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant, counts_at)
        SELECT 'planted', side.account, side.amount, 'default',
               date_trunc('day', now(), 'UTC') - interval '1 microsecond'
        FROM (VALUES ('tenant:spent', 70), ('tenant:available', -70)) AS side (account, amount)
        """
    )
    await limit(engine, 1000)
    await limit(engine, 1000, period=Period.TOTAL)

    found = await engine.database.run(list_budgets)

    assert {one.period: one.spent_micros for one in found} == {"day": 0, "total": 70}


async def test_a_limit_below_what_is_used_refuses_and_is_no_contradiction(engine: Engine) -> None:
    job = await ask(engine)
    await limit(engine, 1)
    await refusal(engine)
    assert await engine.database.run(violations) == []
    assert await price(engine, job) > 1


async def test_a_new_budget_counts_a_submission_that_is_being_committed(
    engine: Engine, database_url: str
) -> None:
    """It waits for the transaction, or the job would be counted by nobody."""
    async with engine.database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant)
            VALUES ('planted', 'tenant:spent', 70, 'default'),
                   ('planted', 'tenant:available', -70, 'default')
            """
        )
        setting = asyncio.create_task(limit(engine, 1000))
        await until(lambda: is_waiting(engine, setting))
    await setting
    (budget,) = await engine.database.run(list_budgets)
    assert budget.spent_micros == 70


@pytest.mark.parametrize("period", [Period.DAY, Period.MONTH])
async def test_a_submission_that_began_before_a_budgets_first_period_counts_in_its_own(
    engine: Engine, period: Period
) -> None:
    """It reserves after the budget was set, beside jobs that the budget found in that period."""

    async def begin(ago: str) -> None:
        await engine.database.fetch(
            f"ALTER TABLE job ALTER created_at SET DEFAULT now() - interval '{ago}'"
        )

    (clock,) = await engine.database.fetch(
        "SELECT now() - date_trunc(%s, now(), 'UTC') + interval '1 s' AS ago", (period,)
    )
    ago = f"{clock['ago'].total_seconds()} s"
    await begin(ago)
    earlier = await ask(engine)
    cost = await price(engine, earlier)
    await limit(engine, 2 * cost, period=period)
    late = await ask(engine)
    await refusal(engine)
    await begin("0 s")
    now = await ask(engine)

    for job in (earlier, late):
        await cancel(engine, job)

    used = await engine.database.fetch("SELECT reserved_micros FROM budget_use ORDER BY starts_at")
    assert [row["reserved_micros"] for row in used] == [0, await price(engine, now)]


async def test_exactly_as_many_jobs_are_accepted_as_a_budget_has_room_for(
    engine: Engine, make_engine: MakeEngine
) -> None:
    """A hundred requests over four processes' pools; the budgets have room for twenty."""
    cost = await price(engine, await ask(engine))
    await limit(engine, 21 * cost)
    await limit(engine, 40 * cost, scope=Scope.APP, subject="shop", period=Period.MONTH)
    engines = [make_engine() for _ in range(4)]

    async def one(number: int) -> bool:
        try:
            await ask(engines[number % 4], caller=Caller(app_id="shop"))
        except RequestRefused as refused:
            assert refused.type == "insufficient_balance"  # noqa: PT017
            return False
        return True

    accepted = await asyncio.gather(*(one(number) for number in range(100)))

    assert sum(accepted) == 20
    assert (await ledger(engine))["tenant:reserved"] == 21 * cost
    for each in engines:
        await each.close()


async def test_jobs_that_end_at_once_under_shared_budgets_release_all(
    engine: Engine, make_engine: MakeEngine
) -> None:
    await limit(engine, 10**12)
    await limit(engine, 10**12, scope=Scope.APP, subject="shop", period=Period.TOTAL)
    jobs = [await ask(engine, caller=Caller(app_id="shop")) for _ in range(12)]
    others = [make_engine() for _ in range(3)]

    await asyncio.gather(*(cancel(others[n % 3], job) for n, job in enumerate(jobs)))

    assert await ledger(engine) == {}
    assert [one.reserved_micros for one in await engine.database.run(list_budgets)] == [0, 0]
    for each in others:
        await each.close()


class AnswerLost:
    """The first commit stands, but its answer is lost with the connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times, real = 0, Database.transaction

        @asynccontextmanager
        async def transaction(database: Database) -> AsyncIterator[Connection]:
            async with real(database) as connection:
                yield connection
            self.times += 1
            if self.times == 1:
                msg = "server closed the connection unexpectedly"
                raise psycopg.OperationalError(msg)

        monkeypatch.setattr(Database, "transaction", transaction)


async def test_a_deposit_whose_answer_is_lost_is_entered_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = AnswerLost(monkeypatch)
    await engine.database.run(lambda c: deposit(c, "default", 5_000_000, id_="dep_1"))

    assert lost.times == 2
    (balance,) = await engine.database.run(lambda c: balances(c, "default"))
    assert balance.deposited_micros == 5_000_000


async def test_a_gate_whose_answer_is_lost_is_created_and_deleted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = GateRequest.from_json({"name": "shop", "model": "gen4.5", "strategy": "single"})
    lost = AnswerLost(monkeypatch)
    made = await gates.create(engine, wanted, tenant="default")
    assert lost.times == 2

    lost.times = -1  # the read comes first
    deleted = await gates.delete(engine, "shop", tenant="default")
    assert (deleted.id, lost.times) == (made.id, 2)
    assert await gates.list_newest(engine, tenant="default", limit=1) == []
