"""A process's memory of its clearance to pay: which database it compared with the mark.

Nothing here does I/O, so asking costs nothing; it is used on the process's one loop.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


class NotCleared(Exception):
    """The database is not the one that was compared with the mark: nothing may be sent to buy."""


@dataclass(slots=True, eq=False)
class Sent:
    """One commit of an attempt as sent."""

    #: The generation that was read after the commit: the mark of a higher one covers it.
    after: int | None = None
    #: When it was committed, by the monotonic clock.
    at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Clearance:
    """Whether this process may pay, and what it has sent that no stored mark covers yet."""

    #: The server's start and the table's number of the database that was compared.
    database: tuple[Any, Any] | None = None
    #: The generation that it had: a lower one shows that it was restored since.
    generation: int = 0
    #: No comparison is tried before this time (monotonic), since the last one failed.
    pause_until: float = 0.0
    #: A server whose timeline is new is looked at for a while, up to this time (monotonic).
    watch: tuple[tuple[Any, Any], float] | None = None
    #: Attempts that were committed as sent and that no stored mark covers yet, by id.
    sent: dict[str, Sent] = field(default_factory=dict)
    #: The newest of them and its time, for people who read a mark.
    newest: tuple[str, datetime] | None = None
    #: One comparison at a time.
    comparing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_given(self) -> bool:
        """Whether a comparison has shown that the database is not behind the mark."""
        return self.database is not None

    def give(self, *, table: int, started: datetime, generation: int) -> None:
        """The database with this table was compared with the mark, and is not behind it."""
        self.database = (table, started)
        self.generation = generation

    def withdraw(self) -> None:
        self.database = None

    def holds_for(self, *, table: int, started: datetime, generation: int) -> bool:
        """Whether the database that these were just read from is the one that was compared."""
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
        """It is committed as sent, and its POST goes out now."""
        self.sent[attempt] = Sent()
        self.newest = (attempt, datetime.now(UTC))

    def take_back(self, attempt: str) -> None:
        """It provably reached nobody, and is about to be planned again."""
        self.sent.pop(attempt, None)

    def cover(self, before: Mapping[str, Sent], *, generation: int) -> None:
        """`before` is what was sent when the generation was read: a later one's mark covers it."""
        for sent in before.values():
            if sent.after is None:
                sent.after = generation

    def forget(self, *, stored: int) -> None:
        """What the mark of the generation `stored` covers can't be lost unnoticed any more."""
        for attempt, sent in list(self.sent.items()):
            if sent.after is not None and stored > sent.after:
                del self.sent[attempt]
