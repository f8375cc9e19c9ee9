"""DNS look-ups that hold no thread: a dead name server delays only who asked for its names."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

#: Seconds that one name server gets to answer at first, and how often each is asked.
_TIMEOUT, _TRIES = 2.0, 2
#: Seconds in which a look-up must end, shorter than `Request.connect_timeout`: then a dead name
#: server is known as such, and not taken for a host that does not connect.
LONGEST = 8.0
#: Seconds for which a failed look-up answers for later ones, and how many are remembered.
FAILURE_LASTS, MOST_FAILURES = 5.0, 10_000
#: Seconds for look-ups to end when the resolver is closed.
_CLOSING = 1.0
#: Look-ups at a time; one more fails at once.
MOST_AT_ONCE = 2000


class NotResolved(OSError):
    """The name has no address, or its name server did not answer."""


@dataclass(slots=True)
class Resolver(AbstractResolver):
    """c-ares behind aiohttp's interface: one look-up of a name at a time, failures remembered.

    It reads /etc/resolv.conf (servers, search domains, options) and /etc/hosts itself. Answers are
    kept for their TTL by c-ares. Used on one loop.
    """

    #: Addresses with ports, such as "127.0.0.1:5353"; none: those of /etc/resolv.conf.
    servers: Sequence[str] = ()
    longest: float = LONGEST
    clock: Callable[[], float] = time.monotonic
    _names: aiohttp.AsyncResolver | None = None
    _under_way: dict[tuple[str, int, int], asyncio.Task[list[ResolveResult]]] = field(
        default_factory=dict
    )
    #: Until when a name's failure counts, and its words; in order of their times.
    _failed: dict[str, tuple[float, str]] = field(default_factory=dict)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`.

        Raises:
            NotResolved: it has none, or nobody said so in time.
        """
        if (known := self._failed.get(host)) and known[0] > self.clock():
            raise NotResolved(known[1])
        key = (host, port, int(family))
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MOST_AT_ONCE:
                msg = f"more than {MOST_AT_ONCE} names are being looked up"
                raise NotResolved(msg)
            task = asyncio.create_task(self._look_up(host, port, family))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        # Whoever gives up leaves the look-up to the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End all look-ups."""
        if self._names is not None:
            await self._names.close()  # ends what c-ares does, while the loop can still be told
            self._names = None
        if self._under_way:
            await asyncio.wait([*self._under_way.values()], timeout=_CLOSING)

    async def _look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[ResolveResult]:
        if self._names is None:
            self._names = aiohttp.AsyncResolver(
                nameservers=list(self.servers) or None, timeout=_TIMEOUT, tries=_TRIES
            )
        try:
            async with asyncio.timeout(self.longest):
                return await self._names.resolve(host, port, family)
        except TimeoutError:
            why = f"{host}: its name server did not answer"
        except OSError as error:
            why = f"{host}: {error.strerror or error}"
        self._remember(host, why)
        raise NotResolved(why)

    def _remember(self, host: str, why: str) -> None:
        self._failed.pop(host, None)  # so that the order stays that of the times
        self._failed[host] = (self.clock() + FAILURE_LASTS, why)
        while len(self._failed) > MOST_FAILURES:
            del self._failed[next(iter(self._failed))]

    def _finished(
        self, key: tuple[str, int, int], task: "asyncio.Task[list[ResolveResult]]"
    ) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # nobody may be left who waits for it
