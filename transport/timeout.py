"""A timeout that can be moved cheaply, since every request moves its own once.

asyncio.timeout schedules a new timer on every move. Here the existing timer fires, finds time left
and is rescheduled, which only slow requests ever need.
"""

import asyncio


class MovableTimeout:
    """Cancels the task that created it once time is up; `stop` reports whether it did."""

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is None:
            msg = "MovableTimeout must be created inside a task"
            raise RuntimeError(msg)
        self._task = task
        self._cancelled_before = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._has_expired = False
        #: In loop time.
        self.ends_at = self._timer_at = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)

    def move(self, seconds: float) -> None:
        """Expire this many seconds from now instead; no effect once expired."""
        if self._has_expired:
            return
        self.ends_at = self._loop.time() + seconds
        if self.ends_at < self._timer_at:
            self._timer.cancel()
            self._schedule()

    def stop(self, error: BaseException | None) -> bool:
        """Disarm; return whether `error`, leaving the timed block, was caused by this timeout.

        As in asyncio.timeout, a cancellation by someone else takes precedence.
        """
        self._timer.cancel()
        if not self._has_expired:
            return False
        others = self._task.uncancel() > self._cancelled_before
        return isinstance(error, asyncio.CancelledError) and not others

    def _on_timer(self) -> None:
        if self._loop.time() < self.ends_at:
            self._schedule()
            return
        self._has_expired = True
        self._task.cancel()

    def _schedule(self) -> None:
        self._timer_at = self.ends_at
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)
