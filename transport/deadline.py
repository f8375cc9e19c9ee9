"""A deadline that also passes while the machine or the process is suspended."""

import time
from collections.abc import Callable, Sequence


def _monotonic() -> float:
    return time.monotonic()


def _wall() -> float:
    return time.time()


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


#: Clocks that measure elapsed time. On Linux the monotonic clock stops while the machine is
#: suspended; the boot-time clock does not, but only some systems have it; the wall clock may be set
#: back, but runs everywhere.
CLOCKS: Sequence[Callable[[], float]] = (
    _monotonic,
    _wall,
    *([_since_boot] if hasattr(time, "CLOCK_BOOTTIME") else []),
)


class Deadline:
    """Passes when any clock says so: passing too early costs a retry, too late costs money."""

    def __init__(self, seconds: float, *, clocks: Sequence[Callable[[], float]] = CLOCKS) -> None:
        self.seconds = seconds
        self._began = [(clock, clock()) for clock in clocks]

    @property
    def left(self) -> float:
        """Seconds left, by the clock that shows the fewest; negative once it is over."""
        return self.seconds - max(clock() - began for clock, began in self._began)

    @property
    def is_over(self) -> bool:
        return self.left < 0
