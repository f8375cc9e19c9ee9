"""The time that a request may wait for its database work: one limit for all of it."""

import asyncio

import pytest

from api import front
from api.front import begin_request, in_time
from models.database import DatabaseAway

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only the test moves."""
    now = [1000.0]
    monkeypatch.setattr(front, "_now", lambda: now[0])
    return now


async def test_what_one_question_takes_is_gone_for_the_next(clock: list[float]) -> None:
    asked: list[str] = []

    async def question(name: str, *, takes: float) -> str:
        asked.append(name)
        clock[0] += takes
        return name

    begin_request()
    assert await in_time(question("whose key", takes=9), seconds=15) == "whose key"
    assert await in_time(question("a repeat?", takes=6), seconds=15) == "a repeat?"
    with pytest.raises(DatabaseAway, match="within 15 s"):
        await in_time(question("the job", takes=1), seconds=15)
    assert asked == ["whose key", "a repeat?"]

    begin_request()
    assert await in_time(question("the next request", takes=1), seconds=15) == "the next request"


async def test_work_that_does_not_end_when_it_is_cancelled_is_not_waited_for() -> None:
    released, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as psycopg, which first asks the server to cancel
            await released.wait()
            ended.set()
            raise

    begin_request()
    async with asyncio.timeout(20):
        with pytest.raises(DatabaseAway):
            await in_time(stubborn(), seconds=0.05)
        assert not ended.is_set()
        released.set()
        await ended.wait()


async def test_a_request_that_is_cancelled_cancels_its_work() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with asyncio.timeout(20):
        request = asyncio.create_task(in_time(work()))
        await began.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await cancelled.wait()


async def test_an_error_of_the_work_is_the_requests() -> None:
    async def fails() -> None:
        raise KeyError("job")

    with pytest.raises(KeyError, match="job"):
        await in_time(fails())
