"""The roll call: once at a time, fresh for a while, and answers that are none of ours."""

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, NotAllowed
from celery import Celery
from kombu import Connection

from api.pages.workers import unserved_in
from tasks.queues import Queue
from tasks.workers import FRESH, Roll, RollCall, Worker, call, read_reply

pytestmark = pytest.mark.anyio
REPLY: dict[str, Any] = {
    "pid": 7,
    "uptime": 90,
    "slots": 8,
    "begun": 12,
    "queues": ["poll", "submit"],
    "schema": "0028",
    "celery": "5.7.0",
    "python": "3.11.7",
}


def worker(*queues: str) -> Worker:
    found = read_reply("main@host", REPLY | {"queues": list(queues)})
    assert found is not None
    return found


def test_an_answer_is_read_whole_or_not_at_all() -> None:
    read = worker("poll", "submit")

    assert (read.name, read.pid, read.slots) == ("main@host", 7, 8)
    assert read.queues == ("poll", "submit")
    assert read_reply("a@b", REPLY | {"slots": None}) == read_reply("a@b", REPLY | {"slots": "x"})
    for wrong in ({"error": "unknown"}, "pong", None, REPLY | {"pid": "7"}, {"ok": "pong"}):
        assert read_reply("old@host", wrong) is None


def test_a_queue_that_nobody_serves_is_named_once_somebody_answered() -> None:
    now = datetime.now(UTC)

    assert unserved_in(Roll(at=now)) == []
    assert "poll" not in unserved_in(Roll(at=now, workers=[worker("poll")]))
    assert "submit" in unserved_in(Roll(at=now, workers=[worker("poll")]))
    every = [worker(*(queue.value for queue in Queue))]
    assert unserved_in(Roll(at=now, workers=every)) == []


async def test_workers_are_called_once_at_a_time_and_again_when_the_answer_is_old() -> None:
    let_go, calls, now = threading.Event(), list[int](), 100.0

    def ask() -> Roll:
        calls.append(1)
        assert let_go.wait(10)
        return Roll(at=datetime.now(UTC), failure=f"call {len(calls)}")

    roll_call = RollCall(ask=ask, clock=lambda: now)
    assert await roll_call.latest(patience=0) is None, "a broker that hangs holds up nobody"
    waiting = [asyncio.create_task(roll_call.latest()) for _ in range(3)]
    await asyncio.sleep(0)
    let_go.set()
    heard = [await each for each in waiting]

    assert {each.failure for each in heard if each} == {"call 1"}
    assert len(calls) == 1
    assert await roll_call.latest() == heard[0]
    assert len(calls) == 1, "fresh"
    now += FRESH
    later = await roll_call.latest()
    assert later is not None
    assert later.failure == "call 2"


def test_a_broker_that_is_away_is_a_result() -> None:
    with Celery("away", broker="redis://127.0.0.1:9/0", set_as_current=False) as app:
        roll = call(app)

    assert roll.workers == ()
    assert roll.failure is not None
    assert "does not answer" in roll.failure


@pytest.mark.parametrize("refusal", [AccessRefused, NotAllowed])
def test_a_broker_that_refuses_us_is_a_result(
    monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise refusal("Login was refused")

    monkeypatch.setattr(Connection, "ensure_connection", refuse)
    with Celery("refused", broker="amqp://127.0.0.1:9//", set_as_current=False) as app:
        roll = call(app)

    assert roll.failure == f"the broker does not answer ({refusal.__name__})"
