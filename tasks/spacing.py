"""Rate limit for periodic tasks, so that a backlog of their messages costs almost nothing."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Spacing:
    """Allows one run at a time, and at most one per interval, within this process.

    Messages of a periodic task never expire, because expiry would compare the worker's clock with
    the sender's. The tasks are idempotent, so one run replaces a whole backlog.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._running = threading.Lock()
        self._next = 0.0

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether to run now: False while another run is active or if one started too recently."""
        if not self._running.acquire(blocking=False):
            yield False
            return
        try:
            began = time.monotonic()
            is_ours = began >= self._next
            if is_ours:
                self._next = began + self.seconds
            yield is_ours
        finally:
            self._running.release()
