"""How fast a vendor's queue moves: learned from which operations have started.

Vendors start an account's operations in the order in which they took them. So those that are behind
the last that has started can't have started yet, and how far it moves in a second says when they
will. Where that order does not hold, nothing is predicted. Times are of one monotonic clock, in
seconds.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

#: Seconds between two notes, and how many are kept: the speed is that of the last few minutes.
_EVERY, _KEPT = 5.0, 48
#: Starts before anything is predicted.
_ENOUGH: Final = 4


@dataclass(slots=True)
class Queue:
    """The queue of one model on one account."""

    #: When the last operation that has started was accepted.
    _front: float = float("-inf")
    _starts: int = 0
    #: Where the front was at which times.
    _notes: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def started(self, *, accepted: float, now: float) -> None:
        """An operation that was accepted then has been seen to run, or to have ended."""
        if accepted <= self._front:
            return
        self._front = accepted
        self._starts += 1
        if not self._notes or now - self._notes[-1][0] >= _EVERY:
            self._notes.append((now, accepted))

    def left(self, *, accepted: float, now: float) -> float | None:
        """Seconds until an operation that still waits will start; None if that is not known."""
        if self._starts < _ENOUGH or accepted <= self._front:
            return None
        since, front = self._notes[0]
        moved = self._front - front
        if moved <= 0 or now <= since:
            return None
        return (accepted - self._front) * (now - since) / moved
