"""Surveys: one listing instead of polls of single operations, where enough are due together.

An operation that a listing does not show is polled alone: only its own poll can deny it. So is one
that the account's listing has not shown lately, since a listing only moves on from what it has
passed, and now and then one that should have ended: a listing may show a stale state for ever. A
listing that can't be had or read is left alone for a while.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from models.failure import Fault
from providers.base import ProviderError, Update
from providers.polling import PAYS
from tasks.gatherer import Gatherer
from transport.base import TransportError

log = structlog.get_logger()

#: Seconds for which a listing is left alone after it could not be had or read.
REST: Final = 600.0
#: Seconds for which an operation that a listing did not show is not looked for in it, and how many
#: of them are remembered.
_BEYOND_FOR, _MOST_BEYOND = 60.0, 20_000
#: An operation is overdue after so many times its typical time; from then on it is polled alone at
#: one look in so many.
_OVERDUE, _ALONE = 2.0, 10
#: The most operations that wait for one listing.
_TOGETHER: Final = 500

Survey = Callable[[Collection[str]], Awaitable[Mapping[str, Update]]]


def is_doubted(*, elapsed: float, typical: float, dice: float) -> bool:
    """Whether to poll an operation alone, whatever the listing shows; `dice` is in 0..1."""
    return elapsed > _OVERDUE * typical and dice * _ALONE < 1


@dataclass(slots=True)
class Memory:
    """What a process remembers of an account's listing."""

    resting_until: float = float("-inf")
    #: Until when operations are not looked for in it.
    beyond: dict[str, float] = field(default_factory=dict)

    def rests(self, now: float) -> bool:
        """Whether the listing is left alone; `now` is monotonic."""
        return now < self.resting_until


@dataclass(slots=True)
class Surveyor:
    """The listing of one account."""

    account: str
    survey: Survey
    memory: Memory = field(default_factory=Memory)
    clock: Callable[[], float] = time.monotonic
    _gatherer: Gatherer = field(init=False)

    def __post_init__(self) -> None:
        self._gatherer = Gatherer(_TOGETHER, self._ask)

    async def look(self, operation_id: str) -> Update | None:
        """The operation's update; None if it is to be polled alone.

        Raises:
            ProviderError: the account's rate limit is reached.
        """
        now = self.clock()
        if self.memory.rests(now) or self.memory.beyond.get(operation_id, now) > now:
            return None
        return await self._gatherer.look(operation_id)

    async def _ask(self, wanted: Collection[str]) -> Mapping[str, Update]:
        if len(wanted) < PAYS:
            return {}
        try:
            found = await self.survey(wanted)
        except (ProviderError, TransportError) as error:
            if isinstance(error, ProviderError) and error.failure.fault is Fault.RATE:
                raise
            # Single polls tell whether that is the listing's fault or the provider's.
            log.warning("poll.no_listing", account=self.account, why=str(error), seconds=REST)
            self.memory.resting_until = self.clock() + REST
            return {}
        beyond = self.memory.beyond
        if len(beyond) > _MOST_BEYOND:
            beyond.clear()
        until = self.clock() + _BEYOND_FOR
        beyond.update({id_: until for id_ in wanted if id_ not in found})
        return found
