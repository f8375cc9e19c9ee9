"""The concurrency limit of a lane: additive increase, multiplicative decrease on 429s."""

import time
from collections.abc import Callable
from math import inf

#: Maximum pause of a lane for a Retry-After, in seconds.
LONGEST_PAUSE = 60.0


class Pace:
    """The number of rows that a process may have in flight on one lane.

    What is counted are answers: one request may stand for up to `together` rows, and the limit
    never falls below the rows of one request.
    """

    def __init__(
        self, most: int, *, together: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = float(most)
        self._least = float(max(1, min(together, most)))
        self._limit = float(most)
        self._clock = clock
        self._paused_until = 0.0
        self._slowed_at = -1.0
        #: 429s that slowed the lane down or paused it, so far.
        self.slowed = 0
        self._limited_at = -inf

    @property
    def limit(self) -> int:
        """Maximum rows in flight now; 0 while the lane is paused."""
        return 0 if self.paused_for > 0 else int(self._limit)

    @property
    def share(self) -> float:
        """The limit as a share of the full one, above 0 and up to 1, also in a pause."""
        return self._limit / self._most

    @property
    def limited_ago(self) -> float:
        """Seconds since the last 429; infinite without one."""
        return self._clock() - self._limited_at

    @property
    def is_full(self) -> bool:
        """Whether nothing slows the lane down."""
        return self._limit >= self._most and self.paused_for == 0

    @property
    def paused_for(self) -> float:
        """Seconds until the pause ends; 0 without one."""
        until = self._paused_until
        return max(0.0, until - self._clock()) if until else 0.0

    def now(self) -> float:
        """The time at which a request begins, for `was_limited`."""
        return self._clock()

    def went_well(self) -> None:
        """Record an answer that was no 429: the limit grows by one request per full round."""
        if self._limit < self._most:
            grown = self._limit + self._least * self._least / self._limit
            self._limit = min(self._most, grown)

    def was_limited(self, retry_after: float | None, *, begun: float | None = None) -> None:
        """Record a 429: halves the limit, and pauses the lane for Retry-After.

        Of requests that had `begun` before the lane was last slowed down, it only pauses: they were
        sent together, and their answers say the same thing.
        """
        if begun is None or begun > self._slowed_at:
            self._limit = max(self._least, self._limit / 2)
            self._slowed_at = self._clock()
        self.slowed += 1
        self._limited_at = self._clock()
        self._pause(min(retry_after or 1.0, LONGEST_PAUSE))

    def adopt(self, share: float, *, pause: float) -> None:
        """Be no faster than another process was left by its 429s; `pause` in seconds."""
        self._limit = min(self._limit, max(self._least, self._most * share))
        self._pause(min(pause, LONGEST_PAUSE))

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + seconds)
