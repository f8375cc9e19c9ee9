"""The rows that a pump holds: waiting in order, in progress, and counted by lane."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.claim import Claimed
from tasks.verbs.verb import Item

#: Rows that a webhook host's lane may hold until it has answered promptly.
PROBES = 4
#: Longest response time of a prompt lane, in seconds.
PROMPT = 5.0


@dataclass(slots=True)
class Held:
    """A claimed row and, once started, the task that works on it."""

    item: Item
    lane: str
    #: When the row became due: its place in the queue if it is released.
    since: datetime
    task: asyncio.Task[None] | None = None
    #: When work on it started, by the monotonic clock.
    started: float = math.inf
    #: Whether the writer has its result.
    answered: bool = False


@dataclass(slots=True, kw_only=True)
class InFlight:
    """The rows that one pump has claimed and not yet written back."""

    #: Maximum number of rows of a prompt lane.
    each: int
    #: Whether the pump serves all lanes: webhook hosts, any of which may hang.
    is_shared: bool
    rows: dict[str, Held] = field(default_factory=dict)
    #: Rows not yet started.
    ready: deque[Held] = field(default_factory=deque)
    #: Rows claimed again while held, and when they became due: they were written back and due
    #: again before this pump removed them.
    _reclaimed: dict[str, datetime] = field(default_factory=dict)
    #: Lanes whose latest response was prompt.
    _prompt: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: Claimed, item: Item) -> None:
        held = Held(item=item, lane=row.lane, since=row.since)
        self.rows[row.id] = held
        self.ready.append(held)

    def remove(self, ids: Collection[str]) -> None:
        """Remove rows that are written back, or left for another claim."""
        for id_ in ids:
            self.rows.pop(id_, None)

    def admit(self, claimed: Collection[Claimed]) -> tuple[list[Claimed], dict[str, datetime]]:
        """Split claimed rows into those to take and those to release because their lane is full.

        Rows that are already held are remembered, and released once they are no longer held.
        """
        self._reclaimed.update((row.id, row.since) for row in claimed if row.id in self.rows)
        fresh = [row for row in claimed if row.id not in self.rows]
        if not self.is_shared:
            return fresh, {}
        counts = self._counts()
        taken, surplus = list[Claimed](), dict[str, datetime]()
        for row in fresh:
            counts[row.lane] += 1
            if counts[row.lane] <= self._limit_of(row.lane):
                taken.append(row)
            else:
                surplus[row.id] = row.since
        return taken, surplus

    def full_lanes(self) -> list[str]:
        """Lanes that hold their maximum number of rows, if the pump serves all lanes."""
        if not self.is_shared:
            return []
        return [lane for lane, count in self._counts().items() if count >= self._limit_of(lane)]

    def note_answer(self, lane: str, *, seconds: float) -> None:
        """Record a lane's latest response time, which sets how many rows it may hold."""
        (self._prompt.add if seconds < PROMPT else self._prompt.discard)(lane)

    def take_unstarted(self) -> dict[str, datetime]:
        """Remove the rows not yet started; returns when each became due, by id."""
        rows = {held.item.id: held.since for held in self.ready}
        self.ready.clear()
        self.remove(rows)
        return rows

    def take_reclaimed(self) -> Mapping[str, datetime]:
        """Forget rows claimed again and no longer held; returns when each became due, by id."""
        ids = sorted(self._reclaimed.keys() - self.rows.keys())
        return {id_: self._reclaimed.pop(id_) for id_ in ids}

    def _counts(self) -> Counter[str]:
        return Counter(held.lane for held in self.rows.values())

    def _limit_of(self, lane: str) -> int:
        return self.each if lane in self._prompt else PROBES
