"""The rows that a pump holds: waiting in order, or in progress."""

import asyncio
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.claim import Claimed
from tasks.pump.ready import Ready
from tasks.pump.shares import Shares
from tasks.verbs.verb import Item


@dataclass(slots=True)
class Held:
    """A claimed row and, once started, the task that works on it."""

    item: Item
    tenant: str
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

    #: Of a pump that serves all lanes; None for one lane, whose pace is its only limit.
    shares: Shares | None
    rows: dict[str, Held] = field(default_factory=dict)
    #: Rows not yet started.
    ready: Ready[Held] = field(default_factory=Ready)
    #: Rows claimed again while held, and when they became due: they were written back and due
    #: again before this pump removed them.
    _reclaimed: dict[str, datetime] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: Claimed, item: Item) -> None:
        held = Held(item=item, tenant=row.tenant, since=row.since)
        self.rows[row.id] = held
        self.ready.add(held)

    def remove(self, ids: Collection[str]) -> None:
        """Remove rows that are written back, or left for another claim."""
        for id_ in ids:
            self.rows.pop(id_, None)
        if self.shares is not None:
            self.shares.give_back(ids)

    def admit(self, claimed: Collection[Claimed]) -> tuple[list[Claimed], dict[str, datetime]]:
        """Split claimed rows into those to take and those to release because a share is used up.

        Rows that are already held are remembered, and released once they are no longer held.
        """
        self._reclaimed.update((row.id, row.since) for row in claimed if row.id in self.rows)
        fresh = [row for row in claimed if row.id not in self.rows]
        if self.shares is None:
            return fresh, {}
        taken = self.shares.take(fresh)
        ids = {row.id for row in taken}
        return taken, {row.id: row.since for row in fresh if row.id not in ids}

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
