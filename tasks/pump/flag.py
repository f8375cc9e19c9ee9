"""A flag that the processes of a worker share."""

import mmap
import time
from typing import Final

#: Seconds between two checks while waiting.
_LOOKS: Final = 0.1


class Flag:
    """A flag shared with all processes that are forked after it was made.

    It has no lock. A `multiprocessing.Event` takes one even to be read: a child that is killed
    while it reads would block its siblings and its parent for ever.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1)

    def is_set(self) -> bool:
        return self._shared[0] != 0

    def set(self) -> None:
        self._shared[0] = 1

    def clear(self) -> None:
        self._shared[0] = 0

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, at most `seconds`; returns whether it is."""
        until = time.monotonic() + seconds
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOKS))
        return self.is_set()
