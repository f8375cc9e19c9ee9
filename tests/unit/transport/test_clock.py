"""The clock that every request runs under."""

import asyncio

import pytest

from transport.clock import Clock

pytestmark = pytest.mark.anyio


async def _timed(seconds: float, *moves: float) -> bool:
    """Wait for what never comes; whether the clock ended it."""
    clock = Clock(seconds)
    for move in moves:
        clock.move(move)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as error:
        return clock.stop(error)
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
        clock = Clock(3600.0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            verdicts.append(clock.stop(error))
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert verdicts == [False]


async def test_an_error_that_comes_first_is_not_its_doing() -> None:
    clock = Clock(3600.0)

    assert not clock.stop(ValueError("something else"))
    assert not clock.stop(None)
