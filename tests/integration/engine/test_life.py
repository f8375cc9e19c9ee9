"""Whatever is asked and answered in whatever order, every commit leaves the rows true."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from models import due
from models.database import Connection
from models.gate import GateRequest
from models.invariants import violations
from models.locks import jobs_of
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from scheduler.claim import Claimed, Turn, claim_suspect
from scheduler.pace import Pace
from scheduler.turns import Claim, claim_in_turns
from tasks import gates
from tasks.deletion import delete
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import finish
from tasks.pump.running import verb_for
from tasks.verbs.verb import AnyVerb, Hold, Recorder
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import (
    IN_DOUBT,
    Desk,
    FarSide,
    answers_to,
    facing,
    kind_of,
)
from tests.integration.engine.lock_order import LockOrder

T = TypeVar("T")

KINDS = [
    *(What.SUBMIT, What.POLL, What.STORE, What.LOOK_UP),
    *(What.DELIVER, What.CANCEL, What.ERASE, What.EXPIRE),
]
#: Of three providers; Kling's older API can be asked for our external id.
MODELS = ("gen4.5", "ray-3.2", "kling-3.0")
KLING = {
    "KLING_ACCESS_KEY": "a",
    "KLING_SECRET_KEY": "s" * 32,
    "KLING_BASE_URL": "http://127.0.0.1:9",
}
pick = st.integers(0, 7)
#: Which of a request's possible answers: the best more often than each of the others.
fate = st.integers(-4, 8).map(lambda n: max(n, 0))


@dataclass(frozen=True, slots=True)
class Hand:
    """A claimed thing in the hands of a worker, which may be slow."""

    verb: AnyVerb
    item: Any
    lease: str


class Life(RuleBasedStateMachine):
    """Workers, callers and providers, one step at a time: nobody waits for anybody."""

    engine: Engine
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.far = facing(self.engine, FarSide(self.desk.hold))
        self.hands: list[Hand] = []
        self.flights: list[tuple[Hand, asyncio.Task[Any]]] = []
        self.results: list[tuple[Hand, Any]] = []
        self.in_doubt: set[str] = set()
        self.asked = self.answered = 0
        self.run(self.engine.database.fetch("DELETE FROM job"))
        self.run(self.engine.database.fetch("DELETE FROM due"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # -- callers --------------------------------------------------------------------------------

    @rule(
        model=st.sampled_from(MODELS),
        count=st.integers(1, 3),
        webhook=st.booleans(),
        policy=st.sampled_from(["at_most_once", "at_least_once"]),
        has_gate=st.booleans(),
    )
    def somebody_asks(
        self, *, model: str, count: int, webhook: bool, policy: str, has_gate: bool = True
    ) -> None:
        body = {"prompt": "a quiet sea", "model": model, "count": count, "unknown_policy": policy}
        body |= {"gate": f"{model}-first"} if has_gate else {}
        hook = {"webhook_url": "http://127.0.0.1/hook", "webhook_secret": "s3cret-of-the-hook"}
        request = VideoRequest.from_json(body | (hook if webhook else {}))
        self.asked += 1
        self.run(accept(self.far, request, tenant="default", job_id=f"job_{self.asked}"))

    @initialize(count=st.integers(1, 3), rounds=st.integers(0, 2))
    def there_is_work_already(self, count: int, rounds: int) -> None:
        """Jobs that are being sent, looked at or stored, and requests under way for them."""
        for model in ("gen4.5", "kling-3.0"):
            self.somebody_asks(model=model, count=count, webhook=True, policy="at_most_once")
        for what in KINDS[:rounds]:
            self.all_of_a_kind_goes_through(what, 0)
        self.somebody_claims(KINDS[rounds])
        while self.hands:
            self.one_begins(0)

    @precondition(lambda self: self.asked)
    @rule(which=pick)
    def somebody_cancels(self, which: int) -> None:
        job = f"job_{1 + which % self.asked}"

        async def work(connection: Connection) -> None:
            await finish(self.far, connection, JobState.CANCELLED, [job])

        self.run(self.far.database.run(work))

    @precondition(lambda self: self.asked)
    @rule(which=pick)
    def somebody_deletes(self, which: int) -> None:
        self.run(delete(self.far, f"job_{1 + which % self.asked}", tenant="default"))

    @rule(which=pick)
    def an_operation_comes_to_light(self, which: int) -> None:
        """A callback tells of it, whatever has become of its attempt and videos meanwhile.

        But not of one that was refused and whose gate has moved on: that would be paid for twice.
        """
        sql = """
        SELECT id, provider FROM attempt WHERE NOT EXISTS (
            SELECT 1 FROM attempt AS hop
            WHERE hop.replaces = attempt.id AND hop.choice <> attempt.choice)
        ORDER BY id
        """
        if found := self.run(self.far.database.fetch(sql)):
            attempt = found[which % len(found)]
            id_, is_kling = attempt["id"], attempt["provider"] == "kling_legacy"
            operation = f"text2video/op-{id_}" if is_kling else f"op-{id_}"
            self.in_doubt.add(id_)
            self.run(record_accepted(self.far, id_, Accepted(operation_id=operation)))

    # -- workers --------------------------------------------------------------------------------

    @rule(what=st.sampled_from(KINDS[:-1]))
    def somebody_claims(self, what: What) -> None:
        """All that is due of a kind, as if its time had come."""
        self._make_due(what)
        self.run(self._claim(what))

    @rule()
    def every_lease_ends(self) -> None:
        """The workers live on, and do not know it; what was sent was sent an hour ago."""
        self.run(self.far.database.fetch("UPDATE due SET at = now() - interval '1 s'"))
        self.run(
            self.far.database.fetch(
                "UPDATE attempt SET sent_at = now() - interval '1 h', "
                "answer_by = now() - interval '1 s', absent_after = now() - interval '1 s', "
                "negative_at = negative_at - interval '1 h' WHERE sent_at IS NOT NULL"
            )
        )

    @rule()
    def many_tries_have_failed(self) -> None:
        self.run(self.far.database.fetch("UPDATE attempt SET poll_faults = 5, cancel_faults = 5"))
        self.run(self.far.database.fetch("UPDATE output SET faults = 7"))

    @rule()
    def what_is_denied_was_denied_for_long(self) -> None:
        """While its account told of others."""
        sql = "UPDATE attempt SET denied_since = now() - interval '2 d' WHERE denied_since < now()"
        self.run(self.far.database.fetch(sql))
        self.run(self.far.database.fetch("UPDATE attempt SET seen_at = now()"))

    @rule()
    def the_deadline_comes(self) -> None:
        self.run(self.far.database.fetch("UPDATE job SET deadline_at = now()"))
        self._make_due(What.EXPIRE)
        self._finish_all(What.EXPIRE)

    @precondition(lambda self: self.hands)
    @rule(which=pick)
    def one_begins(self, which: int) -> None:
        self._begin(self.hands.pop(which % len(self.hands)))

    @precondition(lambda self: self.flights)
    @rule(which=pick, outcome=fate)
    def one_is_answered(self, which: int, outcome: int) -> None:
        hand, task = self.flights.pop(which % len(self.flights))
        self._answer(hand, task, outcome)

    @precondition(lambda self: self.results)
    @rule(which=pick, keeps=st.booleans())
    def one_is_written(self, *, which: int, keeps: bool) -> None:
        """Or written twice, when the commit's answer was lost."""
        at = which % len(self.results)
        hand, result = self.results[at] if keeps else self.results.pop(at)
        self.run(self._write(hand, result))

    @precondition(lambda self: self.hands)
    @rule(which=pick)
    def one_is_poison(self, which: int) -> None:
        hand = self.hands.pop(which % len(self.hands))

        async def work(connection: Connection) -> None:
            what, ids = hand.verb.what, [hand.item.id]
            jobs = await jobs_of(connection, what, ids)
            ours = await due.hold(connection, what, ids, lease=hand.lease, jobs=jobs)
            await hand.verb.give_up(connection, sorted(ours))

        self.run(self.far.database.run(work))

    @rule(what=st.sampled_from(KINDS[:-1]), outcome=fate)
    def all_of_a_kind_goes_through(self, what: What, outcome: int) -> None:
        self._make_due(what)
        self._finish_all(what, outcome)

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def the_rows_are_true(self) -> None:
        assert self.run(self.far.database.run(violations)) == []

    def teardown(self) -> None:
        """Whatever has happened, everything can still come to its end, and does."""
        while self.flights:
            self._answer(*self.flights.pop(), 0)
        self.every_lease_ends()
        for _ in range(12):
            for what in KINDS[:-1]:
                self._make_due(what)
                self._finish_all(what)
        self.the_rows_are_true()
        left = self.run(self.far.database.fetch("SELECT what, id FROM due"))
        assert left == []
        states = self.run(self.far.database.fetch("SELECT DISTINCT state FROM job"))
        assert all(JobState(row["state"]).is_final for row in states)
        sql = "SELECT id FROM job WHERE deleted_at IS NOT NULL AND erased_at IS NULL"
        assert self.run(self.far.database.fetch(sql)) == []

    # -- how ------------------------------------------------------------------------------------

    def _make_due(self, what: What) -> None:
        sql = "UPDATE due SET at = now() - interval '1 s' WHERE what = %s AND lease IS NULL"
        self.run(self.far.database.fetch(sql, (what,)))

    async def _claim(self, what: What) -> None:
        verb, lease = verb_for(what, self.far), str(uuid4())

        async def work(connection: Connection) -> list[Claimed]:
            asked = Claim(turn=Turn(), most=500, each=500, lease=lease, seconds=30)
            return (await claim_in_turns(connection, what, asked)).rows

        async def suspect(connection: Connection) -> Claimed | None:
            return await claim_suspect(connection, what, lane=None, lease=lease, seconds=30)

        claimed = await self.far.database.run(work)
        # Each in a transaction of its own, as the pump claims them: they come in no order of ids.
        while row := await self.far.database.run(suspect):
            claimed.append(row)
        items = await verb.load(claimed)
        unknown = {row.id for row in claimed} - {item.id for item in items}
        assert not unknown, f"{what} rows of finished things"
        self.hands += [Hand(verb, item, lease) for item in items]

    def _begin(self, hand: Hand) -> None:
        work = hand.verb.act(hand.item, Hold(hand.lease, Pace(8)))
        task = self.loop.create_task(work)
        self._follow(hand, task)

    def _follow(self, hand: Hand, task: asyncio.Task[Any]) -> None:
        """Put the work where it is now: on its way, or done."""
        request = self.run(self.desk.until_it_asks(task))
        if request is None:
            if (result := task.result()) is not None:
                self.results.append((hand, result))
            return
        if kind_of(request) == "submit":
            assert hand.item.id not in self.in_doubt, "paid twice"
            self.in_doubt.add(hand.item.id)
        self.flights.append((hand, task))

    def _answer(self, hand: Hand, task: asyncio.Task[Any], outcome: int) -> None:
        request, _ = self.desk.calls[task]
        self.answered += 1
        # Each attempt has one operation, whoever tells of it.
        answers = answers_to(request, hand.item.id)
        word = list(answers)[outcome % len(answers)]
        hypothesis.event(f"{kind_of(request)}: {word}")
        if kind_of(request) == "submit" and word not in (*IN_DOUBT, "accepted"):
            self.in_doubt.discard(hand.item.id)
        self.run(self.desk.answer(task, answers[word]))
        self._follow(hand, task)

    async def _write(self, hand: Hand, result: Any) -> None:
        async def work(connection: Connection) -> None:
            verb, jobs = hand.verb, hand.verb.jobs([result])
            if await due.hold(connection, verb.what, [result.id], lease=hand.lease, jobs=jobs):
                await verb.write(connection, [result])
            elif isinstance(verb, Recorder):
                await verb.write_late(connection, [result])  # in `Writer`, a transaction of its own

        await self.far.database.run(work)

    def _finish_all(self, what: What, outcome: int = 0) -> None:
        """Claim, do and write all of a kind, as a worker that is not disturbed."""
        hands, self.hands = self.hands, []
        flights, self.flights = self.flights, []
        results, self.results = self.results, []
        self.run(self._claim(what))
        while self.hands:
            self._begin(self.hands.pop())
        while self.flights:
            self._answer(*self.flights.pop(), outcome)
        for done in self.results:
            self.run(self._write(*done))
        self.hands, self.flights, self.results = hands, flights, results


@pytest.fixture
def life(make_engine: MakeEngine) -> Iterator[type[Life]]:
    loop = asyncio.new_event_loop()
    engine, watcher = make_engine(**KLING), make_engine()
    order = LockOrder(watcher.database)
    order.watch(engine.database)

    class Here(Life):
        pass

    Here.engine, Here.loop = engine, loop
    for model, other in zip(MODELS, (*MODELS[1:], MODELS[0]), strict=True):
        gate = {"name": f"{model}-first", "model": model, "strategy": "fallback"}
        wanted = GateRequest.from_json(gate | {"fallback_models": [other]})
        loop.run_until_complete(gates.create(engine, wanted, tenant="default"))
    yield Here
    loop.run_until_complete(engine.close())
    loop.run_until_complete(watcher.close())
    loop.close()
    assert order.faults == []
    assert order.watched


def test_whatever_happens_in_whatever_order_the_rows_stay_true(life: type[Life]) -> None:
    run_state_machine_as_test(
        life, settings=hypothesis.settings(max_examples=15, stateful_step_count=30, deadline=None)
    )
