"""Tasks end although they lose a cancellation."""

import asyncio

import pytest

from tasks import ending
from tasks.ending import end

pytestmark = pytest.mark.anyio


async def test_a_task_that_loses_cancellations_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "EVERY", 0.001)
    lost: list[int] = []

    async def stubborn() -> None:
        while len(lost) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost.append(1)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end(task)
    assert task.done()
    assert len(lost) == 3


async def test_what_has_ended_is_left_as_it_is() -> None:
    async def fails() -> None:
        raise LookupError

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    await end(task)
    assert isinstance(task.exception(), LookupError)
