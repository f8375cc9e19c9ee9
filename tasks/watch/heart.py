"""A holder's heartbeat: it shows that the process lives, and brings what it is told."""

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

import structlog

from models import holders
from models.database import Connection, DatabaseAway

if TYPE_CHECKING:
    from tasks.watch.watcher import Watcher

log = structlog.get_logger()

#: Heartbeats of one lease.
BEATS: Final = 6
#: A holder counts as dead after this share of a lease without a heartbeat.
DEAD_AFTER: Final = 0.8
#: Seconds after which a holder without operations leaves.
_IDLE: Final = 60.0
#: Seconds between two comparisons of the rows in the database with those in memory.
_COMPARES: Final = 60.0


class Heart:
    """Beats for one watcher, for as long as it lives: no Celery task does, which ends sooner."""

    def __init__(self, watcher: "Watcher") -> None:
        self._watcher = watcher
        lease = watcher.engine.settings.lease_seconds
        self.every = lease / BEATS
        self._lives_for = lease * DEAD_AFTER
        self._beaten_at = time.monotonic()
        self._compared_at = time.monotonic()
        self._busy_at = time.monotonic()
        self._beating = asyncio.Lock()
        #: What we were told and have not read again yet.
        self._told: set[str] = set()

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

    async def beat(self) -> None:
        """Beat once, and do what we are told; a database that is away is only logged."""
        watcher = self._watcher
        async with self._beating:
            if watcher.is_over:
                return
            began = time.monotonic()

            async def work(connection: Connection) -> holders.Told | None:
                return await holders.beat(connection, watcher.id, watcher.said())

            try:
                told = await watcher.engine.database.run_statement(work, first=True)
                if told is None:
                    log.warning("watch.declared_dead", watched=len(watcher.residents))
                    await watcher.abandon()
                    return
                self._beaten_at = began
                self._told.update(told.things)
                await self._follow(told, began)
            except DatabaseAway as error:
                log.warning("watch.heart_missed", error=str(error))

    async def listen(self) -> None:
        """Do at once what we are told, between two heartbeats. Raises DatabaseAway."""
        watcher = self._watcher

        async def work(connection: Connection) -> list[str]:
            return await holders.told(connection, watcher.id)

        self._told.update(await watcher.engine.database.run_statement(work, first=True))
        await self._read_told()

    async def _read_told(self) -> None:
        if self._told:
            asked = sorted(self._told)
            await self._watcher.taking.read_again(asked)
            self._told.difference_update(asked)

    async def _follow(self, told: holders.Told, now: float) -> None:
        watcher = self._watcher
        await self._read_told()
        if now - self._compared_at > _COMPARES:
            await watcher.taking.compare()
            self._compared_at = now
        await watcher.letting_go.relieve(elsewhere=told.elsewhere)
        if watcher.residents or watcher.taking.is_busy:
            self._busy_at = now
        elif now - self._busy_at > _IDLE:
            await watcher.leave()
