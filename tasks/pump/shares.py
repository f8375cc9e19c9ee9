"""How many rows each tenant and receiver may hold in a pump that serves all lanes.

A receiver may hang, so one that is not known to answer holds one slot, and all such receivers of a
tenant a quarter of the slots. So whatever one tenant's receivers do, the others find free slots.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scheduler.claim import Claimed
from scheduler.receivers import Standing
from scheduler.turns import SLOW_HOLDS, UNKNOWN_HOLDS, Full

#: A tenant's share of the slots; its share for receivers that are not prompt; and all tenants'.
OF_TENANT, CAREFUL, ALL_CAREFUL = 0.5, 0.25, 0.75


@dataclass(slots=True, kw_only=True)
class Shares:
    """The rows that one pump holds, counted by tenant and lane."""

    #: Rows in all, and of one prompt receiver.
    slots: int
    each: int
    _held: dict[str, Claimed] = field(default_factory=dict)
    _lanes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _tenants: Counter[str] = field(default_factory=Counter)
    #: Rows for receivers that are not prompt, by tenant.
    _careful: Counter[str] = field(default_factory=Counter)

    @property
    def room(self) -> int:
        """How many more rows may be claimed."""
        return max(0, self.slots - len(self._held))

    def take(self, rows: Sequence[Claimed]) -> list[Claimed]:
        """Count rows whose tenants and receivers have room for them; returns these.

        Tenants that hold the fewest come first, for what is left of what all of them share.
        """
        ordered = sorted(rows, key=lambda row: self._tenants[row.tenant])
        return [row for row in ordered if self._take(row)]

    def _take(self, row: Claimed) -> bool:
        if row.standing is Standing.OPEN:  # nothing is sent, so it takes no slot
            return True
        if not self._has_room(row):
            return False
        self._held[row.id] = row
        self._count(row, 1)
        return True

    def give_back(self, ids: Iterable[str]) -> None:
        """Stop counting rows."""
        for id_ in ids:
            row = self._held.pop(id_, None)
            if row is not None:
                self._count(row, -1)

    def full(self) -> Full:
        """Whose shares are used up, for the next claim."""
        latest = {(row.tenant, row.lane): row for row in self._held.values()}
        return Full(
            lanes=[pair for pair, row in latest.items() if self._lanes[pair] >= self._of_lane(row)],
            tenants=_reached(self._tenants, self._share(OF_TENANT)),
            careful=_reached(self._careful, self._share(CAREFUL)),
            is_careful=self._careful.total() >= self._share(ALL_CAREFUL),
        )

    def _has_room(self, row: Claimed) -> bool:
        if self._tenants[row.tenant] >= self._share(OF_TENANT):
            return False
        if self._lanes[row.tenant, row.lane] >= self._of_lane(row):
            return False
        return row.standing is Standing.PROMPT or (
            self._careful[row.tenant] < self._share(CAREFUL)
            and self._careful.total() < self._share(ALL_CAREFUL)
        )

    def _share(self, part: float) -> int:
        return max(1, int(self.slots * part))

    def _of_lane(self, row: Claimed) -> int:
        match row.standing:
            case Standing.PROMPT:
                return self.each
            case Standing.SLOW:
                return min(SLOW_HOLDS, self.each)
            case _:
                return UNKNOWN_HOLDS

    def _count(self, row: Claimed, change: int) -> None:
        self._lanes[row.tenant, row.lane] += change
        self._tenants[row.tenant] += change
        if row.standing is not Standing.PROMPT:
            self._careful[row.tenant] += change


def _reached(counts: Counter[str], most: int) -> list[str]:
    return [each for each, count in counts.items() if count >= most]
