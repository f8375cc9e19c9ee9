"""A process's clearance to send paid POSTs: which database it has compared with the mark.

Kept in memory, without I/O; used only on the process's event loop.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


class NotCleared(Exception):
    """The database is not the one that was compared with the mark: no paid POST may be sent."""


@dataclass(slots=True, eq=False)
class Sent:
    """One attempt that this process committed as sent."""

    #: The generation read after the commit: the mark of any higher generation covers it.
    after: int | None = None
    #: When it was committed, by the monotonic clock.
    at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Clearance:
    """Whether this process may send paid POSTs, and which of them no stored mark covers yet."""

    #: The table's OID and the server's start time of the database that was compared.
    database: tuple[Any, Any] | None = None
    #: Its highest known generation: a lower one proves a restore.
    generation: int = 0
    #: No comparison before this time (monotonic), since the last one failed.
    pause_until: float = 0.0
    #: A server with a new timeline, and when its settling time ends (monotonic).
    watch: tuple[tuple[Any, Any], float] | None = None
    #: Attempts committed as sent that no stored mark covers yet, by id.
    sent: dict[str, Sent] = field(default_factory=dict)
    #: The newest of them and its time, as information in the mark.
    newest: tuple[str, datetime] | None = None
    #: Allows one comparison at a time.
    comparing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_given(self) -> bool:
        """Whether a comparison has shown that the database is not behind the mark."""
        return self.database is not None

    def give(self, *, table: int, started: datetime, generation: int) -> None:
        """Record that this database was compared with the mark and is not behind it."""
        self.database = (table, started)
        self.generation = generation

    def withdraw(self) -> None:
        self.database = None

    def holds_for(self, *, table: int, started: datetime, generation: int) -> bool:
        """Whether these values come from the database that was compared."""
        if self.database != (table, started) or generation < self.generation:
            return False
        self.generation = generation
        return True

    def pause(self, seconds: float) -> None:
        self.pause_until = time.monotonic() + seconds

    @property
    def pauses_for(self) -> float:
        """Seconds until the next comparison may be tried."""
        return max(0.0, self.pause_until - time.monotonic())

    @property
    def unmarked_for(self) -> float:
        """Seconds since the oldest commit that no stored mark covers; 0 without one."""
        oldest = min((sent.at for sent in self.sent.values()), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def note_sent(self, attempt: str) -> None:
        """Record an attempt that is committed as sent and about to be POSTed."""
        self.sent[attempt] = Sent()
        self.newest = (attempt, datetime.now(UTC))

    def take_back(self, attempt: str) -> None:
        """Forget an attempt that provably was not sent and will be planned again."""
        self.sent.pop(attempt, None)

    def cover(self, before: Mapping[str, Sent], *, generation: int) -> None:
        """Note that the mark of a generation after this one covers the attempts in `before`."""
        for sent in before.values():
            if sent.after is None:
                sent.after = generation

    def forget(self, *, stored: int) -> None:
        """Forget attempts that the mark of generation `stored` covers."""
        for attempt, sent in list(self.sent.items()):
            if sent.after is not None and stored > sent.after:
                del self.sent[attempt]
