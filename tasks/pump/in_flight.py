"""What a pump holds: claimed rows in their order, those under way, and each lane's share."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from scheduler.claim import Claimed

#: Rows that one lane may hold until it has answered promptly, where users choose the lanes.
PROBES = 4
#: An answer within this time is prompt, in seconds.
PROMPT = 5.0


@dataclass(slots=True)
class Held:
    """A claimed row and, once it was started, the task that works on it and then on others."""

    item: Any
    lane: str
    #: When it came up: its place in the line, should it be handed back.
    since: datetime
    task: asyncio.Task[None] | None = None
    #: When work on it began, by the monotonic clock.
    started: float = math.inf
    #: The writer has its result.
    answered: bool = False


@dataclass(slots=True, kw_only=True)
class InFlight:
    """The rows that one pump has claimed and whose write-back it has not seen yet."""

    #: Rows that a prompt lane may hold.
    each: int
    #: Whether rows of all lanes come; lanes are receivers' hosts then, any of which may hang.
    is_shared: bool
    rows: dict[str, Held] = field(default_factory=dict)
    #: Rows that no task works on yet.
    ready: deque[Held] = field(default_factory=deque)
    #: Rows claimed again while they were held, and when they came up: due again before their
    #: write-back was seen here.
    _reclaimed: dict[str, datetime] = field(default_factory=dict)
    #: Shared lanes whose latest answer was prompt.
    _prompt: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: Claimed, item: Any) -> None:
        held = Held(item=item, lane=row.lane, since=row.since)
        self.rows[row.id] = held
        self.ready.append(held)

    def remove(self, ids: Collection[str]) -> None:
        """These rows are written, or left to whoever claims them next."""
        for id_ in ids:
            self.rows.pop(id_, None)

    def sort_out(self, claimed: Collection[Claimed]) -> tuple[list[Claimed], dict[str, datetime]]:
        """What to take of claimed rows, and what to release because its lane holds enough.

        Rows that are held already are remembered, and released once they are not.
        """
        self._reclaimed.update((row.id, row.since) for row in claimed if row.id in self.rows)
        fresh = [row for row in claimed if row.id not in self.rows]
        if not self.is_shared:
            return fresh, {}
        counts = self._counts()
        taken, surplus = list[Claimed](), dict[str, datetime]()
        for row in fresh:
            counts[row.lane] += 1
            if counts[row.lane] <= self._most_of(row.lane):
                taken.append(row)
            else:
                surplus[row.id] = row.since
        return taken, surplus

    def full_lanes(self) -> list[str]:
        """Shared lanes that hold as many rows as they may."""
        if not self.is_shared:
            return []
        return [lane for lane, count in self._counts().items() if count >= self._most_of(lane)]

    def note_answer(self, lane: str, *, seconds: float) -> None:
        """A lane took so long for one row: what it may hold follows its latest answer."""
        (self._prompt.add if seconds < PROMPT else self._prompt.discard)(lane)

    def take_unstarted(self) -> dict[str, datetime]:
        """Let go of the rows that no task works on: when each came up, by id."""
        rows = {held.item.id: held.since for held in self.ready}
        self.ready.clear()
        self.remove(rows)
        return rows

    def take_reclaimed(self) -> Mapping[str, datetime]:
        """Let go of rows that were claimed again and are no longer held."""
        ids = sorted(self._reclaimed.keys() - self.rows.keys())
        return {id_: self._reclaimed.pop(id_) for id_ in ids}

    def _counts(self) -> Counter[str]:
        return Counter(held.lane for held in self.rows.values())

    def _most_of(self, lane: str) -> int:
        return self.each if lane in self._prompt else PROBES
