"""Blocking work in a thread; cancellation waits for it, so a start ends before its stop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread. Cancellation waits for it, so `work` needs a timeout of its own."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # retrieved: what cancelled us is told instead
        raise
    return running.result()
