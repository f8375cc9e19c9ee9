"""Commits the outcome of a paid request, also through an outage of PostgreSQL."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from models.database import Connection, DatabaseAway
from scheduler.intervals import Backoff
from tasks.engine import Engine

T = TypeVar("T")

log = structlog.get_logger()

#: Seconds for which an answer that was paid for is kept while PostgreSQL is unavailable.
HOLD_ON = 600.0
#: Between two commits that failed.
BACKOFF = Backoff(base=0.5, ceiling=10.0)


async def insist(
    engine: Engine,
    work: Callable[[Connection], Awaitable[T]],
    attempt: str,
    *,
    seconds: float = HOLD_ON,
) -> T:
    """Commit `work`, and retry for up to `seconds` while PostgreSQL is unavailable.

    Raises:
        DatabaseAway: it was unavailable for longer.
    """
    until, tries = time.monotonic() + seconds, 0
    while True:
        try:
            return await engine.database.run(work)
        except DatabaseAway:
            if time.monotonic() > until:
                raise
            log.error("attempt.answer_held", attempt=attempt, tries=tries)  # noqa: TRY400 - told, and tried again
            await asyncio.sleep(BACKOFF.wait(tries, dice=random.random()))
            tries += 1
