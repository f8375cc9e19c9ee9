"""Ends tasks by cancelling them, also those that lose a cancellation."""

import asyncio
from typing import Any

#: Seconds between two cancellations, and how many there are at most.
EVERY, TRIES = 0.5, 60


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until all of them have ended; their results and errors stay in them.

    One cancellation is not enough: before Python 3.12 `asyncio.wait_for` loses it when it comes in
    the moment in which what is waited for arrives, as a connection of psycopg_pool does.
    """
    pending = {task for task in tasks if not task.done()}
    for _ in range(TRIES):
        if not pending:
            return
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=EVERY)
