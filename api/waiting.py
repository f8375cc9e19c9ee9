"""Requests that wait for a job's end: one question a second asks for all of a process's jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from models.database import DatabaseAway
from tasks.ending import end

log = structlog.get_logger()

#: Seconds between two questions, and the timeout of one.
EVERY: Final = 1.0
ANSWERS_WITHIN: Final = 15.0


class Waiting:
    """The jobs that requests wait for; `ended_among` tells which of some jobs have ended.

    Without waiting requests it asks nothing.
    """

    def __init__(
        self,
        ended_among: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        *,
        every: float = EVERY,
    ) -> None:
        self._ended_among = ended_among
        self._every = every
        self._ends: dict[str, tuple[asyncio.Event, int]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def has_ended(self, job: str, *, within: float) -> bool:
        """Whether the job ends in that many seconds; a job that doesn't exist has ended."""
        end, others = self._ends.get(job, (asyncio.Event(), 0))
        self._ends[job] = end, others + 1
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(within):
                await end.wait()
        except TimeoutError:
            return False
        finally:
            self._leave(job)
        return True

    async def close(self) -> None:
        """Ask no more; who still waits learns of no end."""
        if self._asking is not None:
            await end(self._asking)

    def _leave(self, job: str) -> None:
        end, count = self._ends[job]
        if count == 1:
            del self._ends[job]
        else:
            self._ends[job] = end, count - 1

    async def _ask(self) -> None:
        while self._ends:
            await asyncio.sleep(self._every)
            try:
                async with asyncio.timeout(ANSWERS_WITHIN):
                    ended = await self._ended_among(tuple(self._ends))
            except (DatabaseAway, TimeoutError) as error:
                log.warning("waiting.unanswered", waiting=len(self._ends), reason=str(error))
                continue
            except Exception:  # who waits has a limit of its own
                log.exception("waiting.failed", waiting=len(self._ends))
                continue
            for job in ended:
                if job in self._ends:
                    self._ends[job][0].set()
