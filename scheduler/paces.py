"""How processes tell each other that a provider slows a lane down: the table `lane_pace`.

Each process has its own limit. One that is answered with 429 notes its pause and its share of the
full limit; the others take over what is stricter than their own, and grow again by themselves.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

from models.database import Database, DatabaseAway
from models.verbs import What
from scheduler.pace import Pace

#: Seconds between two looks at a lane's row while its pump runs, and for which a note counts.
EVERY: Final = 1.0
COUNTS_FOR: Final = 60
#: Seconds after which a process repeats its note while its last 429 counts.
_REPEATS: Final = 20.0
#: Timeout of the last note, in seconds.
_LAST_WITHIN: Final = 2.0
#: This process, among those that note.
_OURS: Final = uuid4()

_READ = """
SELECT share, extract(epoch FROM paused_until - now())::float8 AS pause, noted_by,
       extract(epoch FROM noted_at)::float8 AS noted_at
FROM lane_pace
WHERE what = %s AND lane = %s AND noted_at > now() - %s * interval '1 second'
"""
_NOTE = """
INSERT INTO lane_pace (what, lane, share, paused_until, noted_by)
VALUES (%s, %s, %s, now() + %s * interval '1 second', %s)
ON CONFLICT (what, lane) DO UPDATE
SET share = excluded.share, noted_at = now(), noted_by = excluded.noted_by,
    paused_until = greatest(lane_pace.paused_until, excluded.paused_until)
"""
_FORGET = "DELETE FROM lane_pace WHERE what = %s AND lane = %s AND noted_by = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noted:
    share: float
    #: Seconds; negative if it is over.
    pause: float
    noted_by: UUID
    noted_at: float


@dataclass(slots=True, kw_only=True)
class LaneNotes:
    """What this process and others note of one lane."""

    database: Database
    what: What
    lane: str
    pace: Pace
    #: This process, unless a test plays several.
    ours: UUID = _OURS
    #: 429s that were noted, when the last note was written, and the last one of others.
    _slowed: int = field(init=False, default=0)
    _noted: float | None = field(init=False, default=None)
    _seen: float = field(init=False, default=0.0)

    async def exchange(self) -> None:
        """Note what is new here, and take over what is new elsewhere."""
        now = self.pace.now()
        if self.pace.slowed > self._slowed:
            await self._note(now)
        elif self._noted is not None and self.pace.is_full:
            self._noted = None
            await self.database.fetch(_FORGET, (self.what, self.lane, self.ours))
        elif self._noted is not None and self.pace.limited_ago > COUNTS_FOR:
            self._noted = None  # it grows old: a process without work would slow others for ever
        elif self._noted is not None and now - self._noted > _REPEATS:
            await self._note(now)
        for found in await self.database.fetch(
            _READ, (self.what, self.lane, COUNTS_FOR), row=_Noted
        ):
            if found.noted_by != self.ours and found.noted_at > self._seen:
                self._seen = found.noted_at
                self.pace.adopt(found.share, pause=found.pause)

    async def _note(self, now: float) -> None:
        slowed, self._noted = self.pace.slowed, now
        values = (self.pace.share, self.pace.paused_for, self.ours)
        await self.database.fetch(_NOTE, (self.what, self.lane, *values))
        self._slowed = slowed

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Exchange until the end of the block, and once more then."""
        loop = asyncio.create_task(self._exchange_often())
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.wait({loop}, timeout=_LAST_WITHIN)
            if self.pace.slowed > self._slowed:
                await asyncio.wait({asyncio.create_task(self._try())}, timeout=_LAST_WITHIN)

    async def _exchange_often(self) -> None:
        while True:  # until it is cancelled
            await self._try()
            await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))

    async def _try(self) -> None:
        try:
            await self.exchange()
        except DatabaseAway:
            return  # the pump waits for it too; the next exchange tells all
