"""Values scoped to one event loop, and so to one process; created on first use."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value per event loop, so that a client can be constructed before a fork.

    Values of other loops are kept untouched: a child closing its parent's connections would remove
    them from the poll set that both share.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[asyncio.AbstractEventLoop, T] = {}

    def here(self) -> T:
        """The running loop's value."""
        loop = asyncio.get_running_loop()
        made = self._made.get(loop)
        if made is None:
            made = self._made[loop] = self._make()
        return made

    def forget(self) -> T | None:
        """Remove and return the running loop's value, or None if never created."""
        return self._made.pop(asyncio.get_running_loop(), None)
