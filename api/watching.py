"""Requests that wait for or follow jobs: one question a second asks for all of a process's."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

import structlog

from models.database import DatabaseAway
from tasks.ending import end

log = structlog.get_logger()

#: Seconds between two questions, and the timeout of one.
EVERY: Final = 1.0
ANSWERS_WITHIN: Final = 15.0


class Sight(Protocol):
    """What one look shows of what was asked for."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come: it has ended, or is not there."""
        ...


A = TypeVar("A", bound=Hashable)
S = TypeVar("S", bound=Sight)
#: Answers for all that are asked for, with one statement.
Look = Callable[[Sequence[A]], Awaitable[Mapping[A, S]]]


class Watch(Generic[A, S]):
    """One request's view of what it asks for: the newest look only, so a slow reader holds one."""

    def __init__(self, asked: A) -> None:
        #: What the next look asks for; its request may change it.
        self.asked = asked
        self.is_closed = False
        self._latest: S | None = None
        self._is_new = asyncio.Event()

    async def news(self, *, within: float) -> S | None:
        """The newest look, once it shows a change; None if none does in that many seconds.

        A closed watch answers None at once.
        """
        try:
            async with asyncio.timeout(within):
                await self._is_new.wait()
        except TimeoutError:
            return None
        if self.is_closed:
            return None
        self._is_new.clear()
        return self._latest

    def tell(self, seen: S) -> None:
        if seen != self._latest:
            self._latest = seen
            self._is_new.set()

    def close(self) -> None:
        self.is_closed = True
        self._is_new.set()


class Watcher(Generic[A, S]):
    """Asks for what a process's requests watch, together; without watches it asks nothing.

    There is one for each kind of thing that is watched.
    """

    def __init__(self, look: Look[A, S], *, every: float = EVERY) -> None:
        self._look = look
        self._every = every
        self._watches: set[Watch[A, S]] = set()
        self._asking: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, asked: A) -> Iterator[Watch[A, S]]:
        """A watch that lasts as long as the block."""
        watch: Watch[A, S] = Watch(asked)
        self._watches.add(watch)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def is_over(self, asked: A, *, within: float) -> bool:
        """Whether it is over in that many seconds."""
        until = time.monotonic() + within
        with self.watching(asked) as watch:
            while (left := until - time.monotonic()) > 0:
                seen = await watch.news(within=left)
                if seen is not None and seen.is_over:
                    return True
        return False

    async def close(self) -> None:
        """Ask no more; who still waits learns nothing."""
        if self._asking is not None:
            await end(self._asking)

    async def _ask(self) -> None:
        await asyncio.sleep(self._every)
        while self._watches:
            await self._tell_all()
            await asyncio.sleep(self._every)

    async def _tell_all(self) -> None:
        asked = {watch: watch.asked for watch in self._watches}
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                found = await self._look(tuple(set(asked.values())))
        except (DatabaseAway, TimeoutError) as error:
            log.warning("watching.unanswered", watches=len(asked), reason=str(error))
            return
        except Exception:  # who waits has a limit of its own
            log.exception("watching.failed", watches=len(asked))
            return
        for watch, each in asked.items():
            if each in found:
                watch.tell(found[each])
