"""Blocking work in threads: what fails at the same time is told once."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from stack.stack import _together
from stack.threads import in_thread


def test_of_two_works_that_fail_in_threads_one_is_told_and_none_is_left_over() -> None:
    first_failed = threading.Event()
    left_over: list[dict[str, Any]] = []

    def first() -> None:
        raise ValueError("first")

    def second() -> None:
        assert first_failed.wait(10)
        raise ValueError("second")

    async def fail_first() -> None:
        try:
            await in_thread(first)
        finally:
            asyncio.get_running_loop().call_soon(first_failed.set)

    async def both() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: left_over.append(told))
        with pytest.raises(ValueError, match="first"):
            await _together(fail_first(), in_thread(second))
        gc.collect()

    asyncio.run(both())
    assert left_over == []
