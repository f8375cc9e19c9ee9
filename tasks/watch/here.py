"""The watcher of this process, and what a hint to poll a lane makes it do."""

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

import structlog

from models import holders
from models.verbs import What
from scheduler.claim import Whose
from tasks import hints
from tasks.loop import Runtime, runtime
from tasks.pump.running import pump, stopping
from tasks.pump.slots import slots
from tasks.watch.watcher import Watcher

log = structlog.get_logger()

#: Seconds for which a hint's task waits for its claims, which go on.
_WITHIN: Final = 60.0
#: Seconds in which a stopping process must have handed its operations back.
_LEAVES_WITHIN: Final = 28.0
#: Seconds for which a process of a pool keeps its one slot while its looks run late, so that the
#: next hint reaches a sibling, which might get none otherwise; seconds until it may do so again.
_KEEPS_SLOT, _AGAIN = 1.5, 10.0

# Rows that are left to a pump: on which a claim was left without an answer, or our own work failed.
_DOUBTED: Final = """
SELECT EXISTS (
    SELECT FROM due WHERE what = 'poll' AND lane = %s AND at <= now() AND (tries > 0 OR faults > 0)
) AS are_there
"""


@dataclass(slots=True, eq=False)
class Here:
    """The watcher of one loop: a new one takes the place of one that was declared dead."""

    watcher: Watcher | None = None
    _keeps_again_at: float = -math.inf
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def begun(self, ours: Runtime) -> Watcher:
        """The watcher, which lives from now on if it did not. Raises DatabaseAway."""
        async with self._lock:
            if self.watcher is None or self.watcher.is_over:
                new = Watcher(engine=ours.engine, stop=stopping.is_set)
                await new.begin()
                self.watcher = new
            return self.watcher

    def should_keep_slot(self, now: float) -> bool:
        """Whether the task should keep its slot for a while: Celery would give it the next hint.

        A pool gives tasks to its idle processes in turn, but in steps that may skip some forever.
        Threads share one watcher.
        """
        is_late = self.watcher is not None and self.watcher.letting_go.late > holders.LATE
        if not is_late or slots.total is not None or now < self._keeps_again_at:
            return False
        self._keeps_again_at = now + _KEEPS_SLOT + _AGAIN
        return True

    async def leave(self) -> None:
        """Hand everything back: the process ends."""
        if self.watcher is not None:
            async with asyncio.timeout(_LEAVES_WITHIN):
                await self.watcher.leave()


_here: WeakKeyDictionary[Runtime, Here] = WeakKeyDictionary()


def watch(lane: str | None) -> str:
    """Watch what is due on a lane from now on; harmless to run twice, or not at all.

    The Celery task only claims and ends: the watcher lives on the process's loop. What it does not
    take (it has no room, or a claim of the row was left without an answer) a pump looks at once.
    """
    ours = runtime()
    settings = ours.engine.settings
    if lane is None or lane not in ours.engine.accounts or not settings.resident_polls:
        return pump(What.POLL, lane)
    if stopping.is_set():
        return "stopping"
    hints.arrived(What.POLL, lane)
    try:
        said, whose = ours.start(_watch(ours, lane)).result(timeout=_WITHIN)
    except TimeoutError:
        return "still taking"
    return said if whose is None else f"{said}; {pump(What.POLL, lane, whose=whose)}"


async def _watch(ours: Runtime, lane: str) -> tuple[str, Whose | None]:
    """Claim for the watcher; returns what was done, and whose rows are left to a pump."""
    here = _here.get(ours)
    if here is None:
        here = _here[ours] = Here()
        ours.before_close.append(here.leave)
    watcher = await here.begun(ours)
    await watcher.heart.listen()
    taken = await watcher.taking.take(lane)
    said = f"taken={taken} watched={len(watcher.residents)}"
    if here.should_keep_slot(time.monotonic()):
        await asyncio.sleep(_KEEPS_SLOT)
    if not watcher.room:
        return said, Whose.ALL
    (left,) = await ours.engine.database.fetch(_DOUBTED, (lane,))
    return said, Whose.DOUBTED if left["are_there"] else None
