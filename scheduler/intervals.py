"""Intervals between polls and retries: pure functions; time and randomness are arguments."""

import math
from dataclasses import dataclass

#: Seconds to postpone a row this worker has no credentials for, so another worker can claim it.
NO_CREDENTIALS_WAIT = 30.0
#: Minimum time for which a provider denies an operation before it counts as lost, in seconds.
LOST_AFTER = 600.0
#: Minimum and maximum interval between polls of a denied, unwanted operation, in seconds.
DENIED_BASE, DENIED_CEILING = 600.0, 3600.0
#: Maximum wait that a provider may ask for, in seconds: it pauses nobody until tomorrow.
LONGEST_ASKED = 300.0
#: Seconds before a deadline in which work that waits for a provider is due once more.
LAST_CHANCE = 15.0


def bounded(asked: float | None, *, time_left: float) -> float:
    """The seconds to wait out of those that a provider asked for; 0 if it asked for none.

    At most five minutes, and not until the deadline in `time_left` seconds: its last seconds are a
    last chance.
    """
    until_last_chance = time_left - LAST_CHANCE if time_left > LAST_CHANCE else LONGEST_ASKED
    return max(0.0, min(asked or 0.0, LONGEST_ASKED, until_last_chance))


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
    """Seconds of uninterrupted denials after which an operation counts as lost.

    Its typical duration, but at least ten minutes, plus ten minutes for each dollar of its job: an
    erring gateway in front of the provider must not make us give up a paid operation.
    """
    return max(LOST_AFTER, typical) + LOST_AFTER * cost_micros / 1_000_000


def next_denied_look(*, denied_for: float, dice: float) -> float:
    """Seconds to the next poll of a denied, unwanted operation: as long as it has been denied."""
    return min(max(denied_for, DENIED_BASE), DENIED_CEILING) * (1 + 0.2 * dice)


def estimated_progress(*, elapsed: float, typical: float) -> int:
    """Percent from the elapsed time: 63 at the typical duration, never decreasing, at most 99."""
    return min(99, int(100 * (1 - math.exp(-max(0.0, elapsed) / max(typical, 0.001)))))


def estimated_remaining(*, elapsed: float, typical: float, progress: float | None) -> float:
    """Seconds left, from the reported progress (0..1) if there is any, else from `typical`."""
    if progress is not None and progress > 0.05:  # noqa: PLR2004 - below, the ratio is mostly noise
        return max(1.0, elapsed * (1 - progress) / progress)
    return max(1.0, typical - elapsed) if elapsed < typical else max(1.0, elapsed * 0.1)
