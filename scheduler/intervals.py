"""When to look or try again: pure rules, with the clock and the dice as arguments."""

import math
from dataclasses import dataclass

#: Seconds to postpone a row this worker has no credentials for, so another worker can claim it.
NO_CREDENTIALS_WAIT = 30.0
#: Seconds of denials, at least, after which an operation counts as lost.
LOST_AFTER = 600.0
#: First and longest wait between looks at a denied operation that nobody waits for, in seconds.
DENIED_BASE, DENIED_CEILING = 600.0, 3600.0


def first_poll(*, p10: float | None, floor: float, dice: float) -> float:
    """Seconds from acceptance to the first poll: the learned p10, never below the floor.

    `dice` is uniform in 0..1: up to 20 % later, so that a batch does not poll in step.
    """
    return max(floor, p10 or 0.0) * (1 + 0.2 * dice)


def next_poll(
    *,
    elapsed: float,
    p50: float,
    floor: float,
    ceiling: float,
    asked: float | None = None,
    dice: float,
) -> float:
    """Seconds to the next poll of an operation that has run for `elapsed` seconds.

    Until the usual time the wait is a tenth of what is left, past it a tenth of what has gone by:
    dense where the end is likely, sparse where it is not. A wait that the vendor asked for is kept.
    """
    remaining = abs(p50 - elapsed)
    wait = min(max(remaining / 10, floor), ceiling)
    return max(wait, asked or 0.0) * (1 + 0.2 * dice)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between retries that double each time; in seconds."""

    base: float
    ceiling: float

    def wait(self, tries: int, *, dice: float) -> float:
        """The wait before try `tries` + 1, jittered over its upper half by `dice` in 0..1."""
        full = min(self.ceiling, self.base * 2.0 ** min(tries, 32))
        return full * (0.5 + 0.5 * dice)


def lost_after(*, typical: float, cost_micros: int) -> float:
    """Seconds of nothing but denials after which an operation counts as lost.

    As long as it usually takes, ten minutes at least, and ten more for each dollar of its job: an
    edge that has lost its way must not cost what is being made.
    """
    return max(LOST_AFTER, typical) + LOST_AFTER * cost_micros / 1_000_000


def next_denied_look(*, denied_for: float, dice: float) -> float:
    """Seconds to the next look at a denied operation that nobody waits for: ever more rarely."""
    return min(max(denied_for, DENIED_BASE), DENIED_CEILING) * (1 + 0.2 * dice)


def estimated_progress(*, elapsed: float, typical: float) -> int:
    """Percent, from time alone: 63 % at the typical duration, rising for ever, 99 at most."""
    return min(99, int(100 * (1 - math.exp(-max(0.0, elapsed) / max(typical, 0.001)))))


def estimated_remaining(*, elapsed: float, typical: float, progress: float | None) -> float:
    """Seconds left: from the reported progress (0..1) where there is some, else by the usual."""
    if progress is not None and progress > 0.05:  # noqa: PLR2004 - below, the ratio is mostly noise
        return max(1.0, elapsed * (1 - progress) / progress)
    return max(1.0, typical - elapsed) if elapsed < typical else max(1.0, elapsed * 0.1)
