"""When API keys were last used: noted in memory by each request, and written afterwards."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

import structlog

from models.database import Database, DatabaseAway
from models.keys import USE_WRITTEN_EVERY, note_use
from tasks.ending import end

log = structlog.get_logger()

#: Seconds between two writes of a process.
_EVERY: Final = 15.0
#: Seconds for writing the last uses at the end.
_LINGER: Final = 2.0
#: Maximum keys whose uses are remembered.
_MOST: Final = 10_000


class KeyUses:
    """The keys that one process was asked with, until they are written."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        #: The time of the newest use that is not written, by key id.
        self._used: dict[str, float] = {}
        #: When a use was last written, by key id: a busy key costs one write a minute.
        self._written: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, key: str) -> None:
        """Note that a key is used now; beyond the maximum, uses of further keys are not noted."""
        if key in self._used or len(self._used) < _MOST:
            self._used[key] = self._clock()

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_writing())

    async def close(self) -> None:
        """Write what is noted, if that takes no longer than a moment."""
        if self._task is None:
            return
        await end(self._task)
        last = asyncio.create_task(self._write_quietly())
        await asyncio.wait([last], timeout=_LINGER)
        await end(last)

    async def write(self) -> None:
        """Write the uses of the keys whose last write is long enough ago; raises DatabaseAway."""
        now = self._clock()
        if len(self._written) >= _MOST:
            self._written.clear()
        ready = {
            key: used
            for key, used in self._used.items()
            if now - self._written.get(key, -math.inf) >= USE_WRITTEN_EVERY
        }
        if not ready:
            return
        agos = {key: now - used for key, used in sorted(ready.items())}
        await self._database.run(lambda connection: note_use(connection, agos))
        for key, used in ready.items():
            self._written[key] = now
            if self._used.get(key) == used:
                del self._used[key]

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            await self._write_quietly()

    async def _write_quietly(self) -> None:
        try:
            await self.write()
        except DatabaseAway as error:
            log.warning("keys.use_not_noted", reason=str(error))
        except Exception:
            log.exception("keys.use_not_noted")
