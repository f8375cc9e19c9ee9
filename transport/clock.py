"""A time-out that may be moved at no cost, as every request moves its own once.

asyncio.timeout makes a timer for each move. Here the one there is rings, sees that there is time
left, and is set anew: which only the few requests that take long ever come to.
"""

import asyncio


class Clock:
    """Cancels the task that makes it when its time is over; `stop` tells whether it did."""

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is None:
            msg = "a clock needs a task that it can stop"
            raise RuntimeError(msg)
        self._task = task
        self._cancelled_before = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._has_rung = False
        #: By the loop's clock.
        self.ends_at = self._rings_at = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._rings_at, self._ring)

    def move(self, seconds: float) -> None:
        """End so many seconds from now instead, unless it is over already."""
        if self._has_rung:
            return
        self.ends_at = self._loop.time() + seconds
        if self.ends_at < self._rings_at:
            self._timer.cancel()
            self._set()

    def stop(self, error: BaseException | None) -> bool:
        """End it; whether `error`, which leaves the block that was timed, is this clock's doing.

        As with asyncio.timeout, somebody else's cancelling goes before ours.
        """
        self._timer.cancel()
        if not self._has_rung:
            return False
        others = self._task.uncancel() > self._cancelled_before
        return isinstance(error, asyncio.CancelledError) and not others

    def _ring(self) -> None:
        if self._loop.time() < self.ends_at:
            self._set()
            return
        self._has_rung = True
        self._task.cancel()

    def _set(self) -> None:
        self._rings_at = self.ends_at
        self._timer = self._loop.call_at(self._rings_at, self._ring)
