"""A holder's heartbeat: it shows that the process lives, and brings what it is told."""

import asyncio
import math
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog

from models import holders
from models.database import Connection, DatabaseAway

if TYPE_CHECKING:
    from tasks.watch.watcher import Watcher

log = structlog.get_logger()

#: Heartbeats of one lease.
BEATS: Final = 6
#: The tick was away if it was silent for this share of a lease, but for three ticks at least.
_AWAY, _THREE_TICKS = 1 / 3, 3.0
#: A holder counts as dead after this share of a lease without a heartbeat, or later where the tick
#: may be silent for almost as long: with so many seconds to spare.
_DEAD, _SPARE = 0.8, 1.0
#: Seconds after which a holder without operations leaves.
_IDLE: Final = 60.0
#: Seconds between two comparisons of the rows in the database with those in memory.
_COMPARES: Final = 60.0


def away_after(lease: float) -> float:
    """Seconds of silence after which the tick counts as having been away."""
    return max(_AWAY * lease, _THREE_TICKS)


def dead_after(lease: float) -> float:
    """Seconds of silence after which a holder counts as dead."""
    return max(_DEAD * lease, away_after(lease) + lease / BEATS + _SPARE)


class Heart:
    """Beats for one watcher, for as long as it lives: no Celery task does, which ends sooner."""

    def __init__(self, watcher: "Watcher") -> None:
        self._watcher = watcher
        lease = watcher.engine.settings.lease_seconds
        self.every = lease / BEATS
        self._lives_for = dead_after(lease)
        self._beaten_at = time.monotonic()
        self._compared_at = time.monotonic()
        self._busy_at = time.monotonic()
        self._beating = asyncio.Lock()
        #: Operations still to be read again, besides those named by nudges.
        self._told: set[str] = set()
        #: Followed nudges, to be deleted by the next query.
        self._done: set[int] = set()

    @property
    def may_look(self) -> bool:
        """Whether nobody can have declared us dead yet."""
        return time.monotonic() - self._beaten_at < self._lives_for

    async def begin(self) -> None:
        """Register: from then on rows may be claimed. Raises DatabaseAway."""
        watcher, lives_for = self._watcher, self._lives_for

        async def work(connection: Connection) -> None:
            await holders.register(connection, watcher.id, lives_for=lives_for, room=watcher.room)

        await watcher.engine.database.run(work, first=True)
        self._beaten_at = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled, or until there is nothing to beat for."""
        while not self._watcher.is_over:
            await asyncio.sleep(self.every * random.uniform(0.8, 1.0))
            await self.beat()

    def tell(self, ids: set[str]) -> None:
        """Read these operations again at the next heartbeat."""
        self._told |= ids

    def know(self, ids: set[str]) -> None:
        """These need not be read again."""
        self._told -= ids

    def doubt(self) -> None:
        """Compare rows and memory at the next heartbeat: an unconfirmed claim may be ours."""
        self._compared_at = -math.inf

    async def beat(self) -> None:
        """Beat once, and do what we are told; a database that is away is only logged."""
        watcher = self._watcher
        async with self._beating:
            if watcher.is_over:
                return
            began, done = time.monotonic(), frozenset(self._done)

            async def work(connection: Connection) -> holders.Told | None:
                return await holders.beat(connection, watcher.id, watcher.said(), done=done)

            try:
                told = await watcher.engine.database.run_statement(work, first=True)
                if told is None:
                    log.warning("watch.declared_dead", watched=len(watcher.residents))
                    await watcher.abandon()
                    return
                self._beaten_at = began
                self._done -= done
                await self._follow(told, began)
            except DatabaseAway as error:
                self.doubt()
                log.warning("watch.heart_missed", error=str(error))

    async def listen(self) -> None:
        """Do at once what we are told, between two heartbeats. Raises DatabaseAway."""
        watcher = self._watcher

        done = frozenset(self._done)

        async def work(connection: Connection) -> dict[int, str]:
            return await holders.told(connection, watcher.id, done=done)

        nudges = await watcher.engine.database.run_statement(work, first=True)
        self._done -= done
        await self._read(nudges)

    async def _read(self, nudges: Mapping[int, str]) -> None:
        """Read again the operations of these nudges and our own list; retry failures next time."""
        new = {id_: thing for id_, thing in nudges.items() if id_ not in self._done}
        asked = self._told.union(new.values())
        if asked:
            await self._watcher.taking.read_again(sorted(asked))
            self._told -= asked
            self._done.update(new)

    async def _follow(self, told: holders.Told, now: float) -> None:
        watcher = self._watcher
        await self._read(told.nudges)
        await watcher.engine.looks.refresh(watcher.engine.database, now=now)
        if now - self._compared_at > _COMPARES and await watcher.taking.compare():
            self._compared_at = now
        await watcher.letting_go.relieve(elsewhere=told.elsewhere)
        if told.others_are_late and watcher.letting_go.late < holders.ON_TIME:
            await watcher.taking.help()
        if watcher.residents or watcher.taking.is_busy:
            self._busy_at = now
        elif now - self._busy_at > _IDLE:
            await watcher.leave()
