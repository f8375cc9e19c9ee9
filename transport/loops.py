"""What belongs to one event loop and so to one process: made at its first use there."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value for each event loop that asks, so that a client may be made before a fork.

    Values of other loops are kept and not touched: a child that let go of its parent's connections
    would take them out of the poll set that the two share.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[asyncio.AbstractEventLoop, T] = {}

    def here(self) -> T:
        """The running loop's value."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._make()
        return self._made[loop]

    def forget(self) -> T | None:
        """The running loop's value if it was made, for its last use."""
        return self._made.pop(asyncio.get_running_loop(), None)
