"""MovableTimeout: expiring, moving and cancelling."""

import asyncio

import pytest

from transport.deadline import Deadline
from transport.timeout import MovableTimeout

pytestmark = pytest.mark.anyio


async def _timed(seconds: float, *moves: float) -> bool:
    """Wait on an event that never occurs; return whether the timeout ended the wait."""
    timeout = MovableTimeout(seconds)
    for move in moves:
        timeout.move(move)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as error:
        return timeout.stop(error)
    raise AssertionError


async def test_it_ends_the_wait_and_leaves_no_trace_of_its_cancelling() -> None:
    assert await _timed(0.01)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_it_may_be_moved_to_an_earlier_end() -> None:
    async with asyncio.timeout(10):
        assert await _timed(3600.0, 0.01)


async def test_it_may_be_moved_to_a_later_end() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert await _timed(0.001, 0.05)

    assert loop.time() - began >= 0.04


async def test_somebody_elses_cancelling_goes_before_its_own() -> None:
    verdicts: list[bool] = []

    async def work() -> None:
        timeout = MovableTimeout(3600.0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            verdicts.append(timeout.stop(error))
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert verdicts == [False]


async def test_an_error_that_comes_first_is_not_its_doing() -> None:
    timeout = MovableTimeout(3600.0)

    assert not timeout.stop(ValueError("something else"))
    assert not timeout.stop(None)


@pytest.mark.parametrize("awake", [0, 1])
def test_a_deadline_is_over_as_soon_as_one_clock_says_so(awake: int) -> None:
    """A machine that sleeps stops one of its clocks, and somebody may set another one back."""
    times = [100.0, 5000.0]
    deadline = Deadline(15.0, clocks=[lambda: times[0], lambda: times[1]])
    assert not deadline.is_over

    times[awake] += 15.0
    times[1 - awake] -= 3600.0
    assert not deadline.is_over
    times[awake] += 0.1
    assert deadline.is_over


def test_a_deadlines_own_clocks_run() -> None:
    assert not Deadline(3600.0).is_over
    assert Deadline(-1.0).is_over
