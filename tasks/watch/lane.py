"""The looks of one account's operations: tenants in turn, and no more at a time than its pace."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scheduler.pace import Pace
from scheduler.paces import LaneNotes
from tasks.pump.ready import Ready
from tasks.verbs.verb import Hold
from tasks.watch.resident import Resident


@dataclass(slots=True, kw_only=True)
class Lane:
    """What is to be looked at now, and the lookers."""

    pace: Pace
    hold: Hold
    look: Callable[["Lane", Resident], Awaitable[None]]
    #: How processes tell each other of 429s.
    notes: LaneNotes | None = None
    ready: Ready[Resident] = field(default_factory=Ready)
    lookers: set[asyncio.Task[None]] = field(default_factory=set)
    #: Whether it has looked since notes were exchanged last.
    has_looked: bool = False
    _busy: int = 0

    def start(self) -> None:
        """Start as many lookers as the pace allows; each takes one operation after the other."""
        for _ in range(min(self.pace.limit - self._busy, len(self.ready))):
            self._busy += 1
            self.lookers.add(looker := asyncio.create_task(self._look_on()))
            looker.add_done_callback(self.lookers.discard)

    async def _look_on(self) -> None:
        try:
            while self.ready and self._busy <= self.pace.limit:
                self.has_looked = True
                await self.look(self, self.ready.take())
        finally:
            self._busy -= 1
