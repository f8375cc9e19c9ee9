"""How a watcher lets operations go: all when it stops, some when others have less to do."""

import asyncio
import heapq
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from models import holders
from models.database import Connection, DatabaseAway

if TYPE_CHECKING:
    from tasks.watch.lane import Lane
    from tasks.watch.resident import Resident
    from tasks.watch.watcher import Watcher

log = structlog.get_logger()

#: Rows that one statement lets go.
CHUNK: Final = 1000
#: Share of the operations that go at one heartbeat when looks run late.
_SHARE: Final = 0.2
#: Weight of the newest look in the mean of how late they are.
_NEWEST: Final = 0.02
#: Seconds that looks in progress get when the process stops, and that all of it may take.
_PATIENCE, _IN_ALL = 5.0, 25.0


class LettingGo:
    """Hands rows of one watcher back, each with its own next time."""

    def __init__(self, watcher: "Watcher") -> None:
        self._watcher = watcher
        #: Mean of the seconds by which looks began late, where no rate limit held them back.
        self.late = 0.0
        self._looks = 0
        #: Since when looks have been held up, if they are; and until when the delay is excused.
        self._held_since: float | None = None
        self._makes_up_until = -math.inf

    def was_held(self, now: float) -> None:
        """Note that looks are held up, because the database is unreachable or has much to write.

        The looks that this delays are no sign of overload: another process would be no faster. Nor,
        for as long as this lasted, are those that wait behind them.
        """
        if self._held_since is None:
            self._held_since = now
        self._makes_up_until = max(self._makes_up_until, now + (now - self._held_since))

    def goes_on(self) -> None:
        """Note that looks are no longer held up."""
        self._held_since = None

    def was_late(self, lane: "Lane", at: float, now: float) -> None:
        """Count a look that begins now and was due at `at`."""
        if lane.pace.is_full and at > self._makes_up_until:
            self._looks += 1
            self.late += _NEWEST * (max(0.0, now - at) - self.late)

    async def relieve(self, *, elsewhere: int) -> None:
        """If looks run late, let go of what is furthest from its next look, for other processes.

        `elsewhere` is how many rows they would take. Raises DatabaseAway.
        """
        if not self._looks:
            self.late = 0.0
        self._looks = 0
        if self.late <= holders.LATE or not elsewhere:
            return
        watcher = self._watcher
        idle = [each for each in watcher.residents.values() if _is_idle(each)]
        most = min(elsewhere, int(_SHARE * len(watcher.residents)))
        far = heapq.nlargest(most, idle, key=lambda resident: resident.at)
        log.info("watch.late", seconds=round(self.late, 2), rows=len(far))
        await self.some(far)

    async def some(self, residents: Sequence["Resident"]) -> None:
        """Let go of these; their news is written first. Raises DatabaseAway."""
        watcher = self._watcher
        await watcher.news.write([each for each in residents if each.has_news])
        for start in range(0, len(residents), CHUNK):
            # They are forgotten first: nobody looks at what is about to be another's.
            chunk = [each for each in residents[start : start + CHUNK] if _is_idle(each)]
            now = time.monotonic()
            rows = [holders.Free(each.id, max(0.0, each.at - now)) for each in chunk]
            watcher.forget([row.id for row in rows])

            async def work(connection: Connection, rows: list[holders.Free] = rows) -> None:
                await holders.let_go(connection, rows, holder=watcher.id)

            try:
                await watcher.engine.database.run(work)
            except DatabaseAway:  # whose they are now is read again
                watcher.heart.tell({row.id for row in rows})
                raise

    async def all(self) -> None:
        """Let everything go, once the looks in progress are over; what fails is only logged.

        What stays behind is freed like that of a process that died.
        """
        try:
            async with asyncio.timeout(_IN_ALL):
                await self._all()
        except (TimeoutError, DatabaseAway) as error:
            log.warning("watch.not_handed_back", error=str(error))
        except Exception:
            log.exception("watch.not_handed_back")

    async def _all(self) -> None:
        watcher = self._watcher
        lookers = {task for lane in watcher.lanes.values() for task in lane.lookers}
        for lane in watcher.lanes.values():
            lane.ready.clear()
        if lookers:
            await asyncio.wait(lookers, timeout=_PATIENCE)
        for looker in lookers:
            looker.cancel()
        until = time.monotonic() + _PATIENCE
        while any(each.telling for each in watcher.residents.values()):
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.05)
        residents = list(watcher.residents.values())
        for each in residents:  # what the database did not take by now is seen again by others
            each.is_looking = each.is_ending = False
            each.telling = 0
        count = len(residents)
        await self.some(residents)
        await watcher.engine.database.run(lambda on: holders.leave(on, watcher.id))
        log.info("watch.left", handed_back=count)


def _is_idle(resident: "Resident") -> bool:
    return not (resident.is_looking or resident.is_ending or resident.telling)
