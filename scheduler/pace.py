"""The concurrency limit of a lane: additive increase, multiplicative decrease on 429s."""

import time
from collections.abc import Callable

#: Maximum pause of a lane for a Retry-After, in seconds.
LONGEST_PAUSE = 60.0


class Pace:
    """The number of requests that one pump may have in flight on one lane."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._clock = clock
        self._paused_until = 0.0

    @property
    def limit(self) -> int:
        """Maximum requests in flight now; 0 while the lane is paused."""
        return 0 if self.paused_for > 0 else int(self._limit)

    @property
    def paused_for(self) -> float:
        """Seconds until the pause ends; 0 without one."""
        return max(0.0, self._paused_until - self._clock())

    def went_well(self) -> None:
        """Record a request that was not rate-limited: the limit grows by one per full round."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def was_limited(self, retry_after: float | None) -> None:
        """Record a 429: halves the limit, and pauses the lane for Retry-After."""
        self._limit = max(1.0, self._limit / 2)
        pause = min(retry_after or 1.0, LONGEST_PAUSE)
        self._paused_until = max(self._paused_until, self._clock() + pause)
