"""Choosing one of a provider's accounts for a job, by weight."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: The account of a job, given the accounts' weights (all above 0) and the job's estimated cost in
#: millionths of a US dollar.
Pick = Callable[[Mapping[str, float], int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picker:
    """A random choice by weight: fair over any number of processes, without a row that they share.

    Accounts that are paused or have no room under their caps are passed over, while there is
    another.
    """

    #: Gives numbers from 0 up to 1.
    dice: Callable[[], float] = random.random
    #: What an account may still spend, in millionths of a US dollar; one that is not named: all.
    room: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, weights: Mapping[str, float], cost_micros: int) -> str:
        free = {
            name: weight
            for name, weight in weights.items()
            if name not in self.room or self.room[name] >= max(cost_micros, 1)
        }
        return self._drawn(free or weights)

    def _drawn(self, weights: Mapping[str, float]) -> str:
        """An account, as often as its weight says; the names are sorted, so one dice decides."""
        names = sorted(weights)
        left = self.dice() * sum(weights.values())
        for name in names:
            left -= weights[name]
            if left < 0:
                return name
        return names[-1]


#: By weight alone.
pick_any: Pick = Picker()
