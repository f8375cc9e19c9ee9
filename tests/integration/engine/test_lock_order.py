"""What the other tests leave out keeps the order of locks too; and who breaks it is found."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from models.accounts import pause, set_cap
from models.budgets import set_budget
from models.database import Connection
from models.limits import set_limits
from models.request import VideoRequest
from models.rows.accounts import CapPeriod
from models.rows.limits import Holder
from models.rows.money import Period, Scope
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from tasks.batches import control
from tasks.batches.progress import lock_batch
from tasks.deliveries import _make_due as replay
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import finish
from tasks.pump.pump import POISON_TRIES, Pump
from tasks.pump.running import verb_for
from tasks.repeats import Caller
from tasks.upkeep.reconcile import look_up_again, settle_absent
from tests.integration.conftest import MakeEngine
from tests.integration.engine.batched import HOOK, batch_of, tally
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of
from tests.integration.engine.lock_order import LockOrder
from transport.base import Request, Response, Unanswered

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Vendor:
    """Loses its answers to submits when it is told so."""

    loses: bool = False
    number: int = 0

    async def reply(self, request: Request) -> Response:
        self.number += 1
        if self.loses and kind_of(request) == "submit":
            raise Unanswered("lost")
        best = next(iter(answers_to(request, self.number).values()))
        assert isinstance(best, Response)
        return best


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def watcher(make_engine: MakeEngine, anyio_backend: str) -> AsyncIterator[Engine]:
    engine = make_engine()
    yield engine
    await engine.close()


@pytest.fixture
def order(watcher: Engine) -> LockOrder:
    return LockOrder(watcher.database)


@pytest.fixture
async def engine(
    make_engine: MakeEngine, vendor: Vendor, order: LockOrder
) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), FarSide(vendor.reply))
    order.watch(engine.database)
    yield engine
    await engine.close()


async def asked(engine: Engine, **fields: object) -> str:
    body = {"prompt": "a quiet sea", "model": "gen4.5", "count": 2} | fields
    return (await accept(engine, VideoRequest.from_json(body), tenant="default")).job_id


async def pumped(engine: Engine, *kinds: What) -> None:
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s' WHERE what = %s", (what,)
        )
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def attempts(engine: Engine) -> list[str]:
    return [row["id"] for row in await engine.database.fetch("SELECT id FROM attempt ORDER BY id")]


@pytest.mark.parametrize("policy", ["at_most_once", "at_least_once"])
async def test_attempts_in_doubt_and_how_they_are_settled(
    engine: Engine, vendor: Vendor, order: LockOrder, policy: str
) -> None:
    vendor.loses = True
    await asked(engine, unknown_policy=policy)
    await pumped(engine, What.SUBMIT)
    first, second = (await attempts(engine))[:2]
    await engine.database.run(lambda c: look_up_again(c, [second, first]))
    await settle_absent(engine, first)
    await record_accepted(engine, second, Accepted(operation_id="op-late"))
    vendor.loses = False
    await pumped(engine, What.LOOK_UP, What.SUBMIT, What.POLL, What.CANCEL, What.STORE)
    assert order.faults == []
    assert order.watched


@pytest.mark.parametrize(
    "kind", [What.SUBMIT, What.POLL, What.STORE, What.EXPIRE, What.CANCEL, What.DELIVER]
)
async def test_poison(engine: Engine, order: LockOrder, kind: What) -> None:
    job = await asked(engine, webhook_url="https://hook.test/")
    before = {What.POLL: [What.SUBMIT], What.STORE: [What.SUBMIT, What.POLL]}
    await pumped(engine, *before.get(kind, []))
    if kind in {What.CANCEL, What.DELIVER}:
        await pumped(engine, What.SUBMIT)
        await engine.database.run(lambda c: finish(engine, c, JobState.CANCELLED, [job]))
    sql = "UPDATE due SET tries = %s WHERE what = %s RETURNING id"
    assert await engine.database.fetch(sql, (POISON_TRIES, kind))
    await pumped(engine, kind)
    assert order.faults == []
    assert order.watched


async def test_replays(engine: Engine, order: LockOrder) -> None:
    job = await asked(engine, webhook_url="https://hook.test/")
    await engine.database.run(lambda c: finish(engine, c, JobState.CANCELLED, [job]))
    (row,) = await engine.database.fetch("SELECT id FROM delivery")
    for _ in range(2):
        await engine.database.run(lambda c: replay(c, row["id"], tenant="default"))
        await pumped(engine, What.DELIVER)
    assert order.faults == []
    assert order.watched


async def test_budgets_are_taken_last_and_in_order(
    engine: Engine, vendor: Vendor, order: LockOrder
) -> None:

    async def set_budgets(connection: Connection) -> None:
        for period in (Period.DAY, Period.MONTH, Period.TOTAL):
            await set_budget(
                connection,
                "default",
                scope=Scope.TENANT,
                subject="default",
                period=period,
                limit_micros=10**12,
            )

    await engine.database.run(set_budgets)
    jobs = [await asked(engine, webhook_url="https://hook.test/") for _ in range(4)]
    await engine.database.run(lambda c: finish(engine, c, JobState.CANCELLED, jobs[:1]))
    await pumped(engine, What.SUBMIT, What.POLL, What.STORE)
    await engine.database.run(lambda c: finish(engine, c, JobState.CANCELLED, jobs))
    used = await engine.database.fetch("SELECT reserved_micros, spent_micros FROM budget_use")
    assert {row["reserved_micros"] for row in used} == {0}
    # The periods before are open too, for jobs that were submitted before the budgets were set.
    assert sum(row["spent_micros"] > 0 for row in used) == 3
    assert order.faults == []
    assert order.watched


async def test_a_batch_of_look_ups_takes_budgets_in_order(engine: Engine, order: LockOrder) -> None:
    """The jobs come in another order than the ids of their apps' budgets."""
    for app in ("first", "second"):

        async def work(connection: Connection, app: str = app) -> None:
            await set_budget(
                connection,
                "default",
                scope=Scope.APP,
                subject=app,
                period=Period.TOTAL,
                limit_micros=10**12,
            )

        await engine.database.run(work)
    for app in ("second", "first"):
        request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
        await accept(engine, request, tenant="default", caller=Caller(app_id=app))
    await engine.database.fetch("UPDATE attempt SET state = 'unknown', sent_at = now()")
    await engine.database.fetch("UPDATE due SET what = 'look_up' WHERE what = 'submit'")

    await pumped(engine, What.LOOK_UP)

    used = await engine.database.fetch("SELECT reserved_micros FROM budget_use")
    assert [row["reserved_micros"] for row in used] == [0, 0]
    assert order.faults == []
    assert order.watched


async def test_an_accounts_rule_is_taken_between_the_due_row_and_the_attempt(
    engine: Engine, watcher: Engine, order: LockOrder
) -> None:
    await watcher.database.run(  # unwatched: it locks the table, which the watcher reads
        lambda c: set_cap(c, "runway", micros=600_000, period=CapPeriod.DAY)  # of one video
    )
    await asked(engine)
    await pumped(engine, What.SUBMIT)
    states = await engine.database.fetch("SELECT state FROM attempt ORDER BY state")
    assert [row["state"] for row in states] == ["accepted", "planned"]
    await engine.database.run(lambda c: pause(c, "runway", whole=True, seconds=None, reason=None))
    await pumped(engine, What.SUBMIT, What.POLL, What.STORE)
    assert order.faults == []
    assert order.watched


async def test_an_attempt_that_moves_to_another_account_keeps_the_order(
    make_engine: MakeEngine, vendor: Vendor, order: LockOrder, watcher: Engine
) -> None:
    team = facing(make_engine(RUNWAYML_API_SECRET__TEAM="key"), FarSide(vendor.reply))
    team = replace(team, dice=lambda: 0.0)
    order.watch(team.database)
    await asked(team)
    await watcher.database.run(lambda c: pause(c, "runway", whole=False, seconds=None, reason=None))
    await pumped(team, What.SUBMIT, What.SUBMIT)
    found = await team.database.fetch("SELECT account, state FROM attempt")
    assert [tuple(row.values()) for row in found] == [("runway:team", "accepted")] * 2
    assert order.faults == []
    assert order.watched
    await team.close()


async def test_a_step_backwards_is_found(engine: Engine, order: LockOrder) -> None:
    job = await asked(engine)

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE attempt SET polls = 1 WHERE job = %s", (job,))
        await connection.execute("DELETE FROM due WHERE what = 'submit'")
        await connection.execute("SELECT id FROM job FOR UPDATE")

    await engine.database.run(work)
    words = [fault.partition(":")[0] for fault in order.faults]
    assert words == [
        *["attempt without its due row or its job"] * 2,
        "due after what comes later",
        "rows of due in no order",
        "job after what comes later",
    ]


async def test_a_tally_locks_its_batch_then_limits_then_its_lines(
    engine: Engine, watcher: Engine, order: LockOrder
) -> None:
    await watcher.database.run(
        lambda c: set_limits(c, Holder.TENANT, "default", changes={"concurrent": 9})
    )
    hook = {"webhook_url": "https://hook.test/"}
    batch = await batch_of(watcher, [hook] * 4, concurrency=2, webhook=engine.vault.seal_json(HOOK))
    await tally(engine)
    await engine.database.run(lambda c: finish(engine, c, JobState.CANCELLED, batch.jobs[:1]))
    await tally(engine)
    await pumped(engine, What.SUBMIT)
    await control.cancel(engine, batch.id, tenant="default")
    await tally(engine, rounds=2)
    (row,) = await engine.database.fetch("SELECT state FROM batch")
    assert row["state"] == "cancelled"
    assert order.faults == []
    assert order.watched


async def test_a_batch_that_is_locked_after_a_job_is_found(
    engine: Engine, watcher: Engine, order: LockOrder
) -> None:
    batch = await batch_of(watcher, 1)

    async def work(connection: Connection) -> None:
        await connection.execute("SELECT id FROM job FOR NO KEY UPDATE")
        await lock_batch(connection, batch.id)

    await engine.database.run(work)
    assert [fault.partition(":")[0] for fault in order.faults] == ["batch after what comes later"]
