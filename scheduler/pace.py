"""How fast a lane may go: additive increase, multiplicative decrease on the provider's 429s."""

import time
from collections.abc import Callable

#: A pause that a provider asks for is kept up to this many seconds; rows wait, pumps don't.
LONGEST_PAUSE = 60.0


class Pace:
    """Requests that one pump may have in flight on one lane; slows the lane down, not a job."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._clock = clock
        self._paused_until = 0.0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now; 0 while the lane is paused."""
        return 0 if self.paused_for > 0 else int(self._limit)

    @property
    def paused_for(self) -> float:
        return max(0.0, self._paused_until - self._clock())

    def went_well(self) -> None:
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def was_limited(self, retry_after: float | None) -> None:
        """The provider said 429: half as many from now on, and none for as long as it asks."""
        self._limit = max(1.0, self._limit / 2)
        pause = min(retry_after or 1.0, LONGEST_PAUSE)
        self._paused_until = max(self._paused_until, self._clock() + pause)
