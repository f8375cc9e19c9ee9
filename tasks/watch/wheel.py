"""A wheel of short slots of time: many things wait in it without a timer or a task each."""

import math
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: Length of a slot, in seconds: what falls due within it is begun together.
SLOT: Final = 0.05


class Wheel(Generic[T]):
    """Things by the slot in which their time comes; each step costs the same, however many wait.

    Nothing is taken out before its time: who puts a thing in twice knows which slot counts.
    """

    def __init__(self, now: float) -> None:
        self._slots: dict[int, list[T]] = {}
        self._next = math.floor(now / SLOT)

    def __bool__(self) -> bool:
        return bool(self._slots)

    def put(self, thing: T, at: float) -> int:
        """Add a thing; returns its slot, whose time has come at `at` or up to one slot later."""
        slot = max(self._next, math.ceil(at / SLOT))
        self._slots.setdefault(slot, []).append(thing)
        return slot

    def take(self, now: float) -> list[tuple[int, T]]:
        """Remove what is due, each thing with its slot, in the order of their slots."""
        last = math.floor(now / SLOT)
        passed = last + 1 - self._next
        if passed > len(self._slots):  # after a long pause the slots in between are empty
            slots = sorted(slot for slot in self._slots if slot <= last)
        else:
            slots = list(range(self._next, last + 1))
        self._next = max(self._next, last + 1)
        return [(slot, thing) for slot in slots for thing in self._slots.pop(slot, ())]
