"""A watched operation in memory: what is known of it, and what is not written yet."""

import math
from dataclasses import dataclass, field

from tasks.outcomes.polled import PollItem, Seen, kind_of

#: The slot of a resident that waits in no wheel.
NO_SLOT = -1


@dataclass(slots=True, eq=False, kw_only=True)
class Resident:
    """One operation. Times are of the monotonic clock."""

    item: PollItem
    #: Copied from the item.
    id: str = field(init=False)
    tenant: str = field(init=False)
    #: When to look at it, and its slot in the wheel of looks.
    at: float
    slot: int = NO_SLOT
    #: Its slot in the wheel of news, while it has some.
    marked: int = NO_SLOT
    #: The progress that was seen, and the progress that is written, 0..1.
    progress: float | None = None
    written: float | None = None
    written_at: float = -math.inf
    #: Results that the writer has.
    telling: int = 0
    is_looking: bool = False
    #: Whether to look once more right after the look in progress.
    again: bool = False
    #: Whether the writer has what ends its being watched.
    is_ending: bool = False

    def __post_init__(self) -> None:
        self.id, self.tenant = self.item.id, self.item.tenant

    def age(self, now: float) -> None:
        """Count the item's seconds up to `now`."""
        self.item.age(now)

    def renew(self, item: PollItem) -> None:
        """Take over what was read again; what is known of faults here is newer."""
        self.age(item.read_at)
        old = self.item
        item.poll_faults, item.last_fault = old.poll_faults, old.last_fault
        item.denied_for = old.denied_for
        item.polls = max(item.polls, old.polls)
        item.running_for, item.seen_ago = old.running_for, old.seen_ago
        if item.operation_id == old.operation_id:
            item.kept = old.kept
        self.item = item
        self.again = self.is_looking

    def learn(self, seen: Seen) -> bool:
        """Take over what a look showed, unless it ends the watching; whether that is news."""
        item = self.item
        if seen.fault is not None:
            is_first = item.poll_faults == 0 or not item.last_fault
            item.poll_faults, item.last_fault = seen.faults, kind_of(seen.fault)
            if item.last_fault.get("fault") == "gone" and item.denied_for is None:
                item.denied_for, is_first = 0.0, True
            return seen.is_news or is_first
        has_recovered = bool(item.poll_faults or item.last_fault or item.denied_for is not None)
        item.poll_faults, item.last_fault, item.denied_for = 0, None, None
        item.answered_ago = None
        if seen.progress is not None:
            self.progress = max(self.progress or 0.0, seen.progress)
        return has_recovered

    @property
    def has_news(self) -> bool:
        return self.marked != NO_SLOT

    @property
    def has_grown(self) -> bool:
        """Whether it is a percent further than what is written."""
        return int(100 * (self.progress or 0.0)) > int(100 * (self.written or 0.0))
