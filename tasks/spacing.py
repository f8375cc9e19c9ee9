"""Spacing: periodic tasks whose messages piled up while no worker ran cost next to nothing."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Spacing:
    """Lets one run at a time through, and one every so many seconds, within this process.

    Messages of a periodic task never expire, since whether one is stale would be judged by the
    worker's clock against the sender's. What they ask for is idempotent: of a pile one is enough.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._running = threading.Lock()
        self._next = 0.0

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether to run now; False while another runs, or when one began just before."""
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
