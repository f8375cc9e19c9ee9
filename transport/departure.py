"""Whether a request has left: the one rule that tells NotSent from Unanswered, and its clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from transport.base import BadAnswer, NotSent, Request, TransportError, Unanswered
from transport.redact import redact, safe_url


class Departure:
    """One request on its way; a client calls `leave` before the first byte may go out."""

    def __init__(self, request: Request, clock: asyncio.Timeout) -> None:
        self._request = request
        self._clock = clock
        self._has_left = False

    def leave(self) -> None:
        """The connection stands: from here on nothing is NotSent, and `timeout` begins to run."""
        if self._has_left:
            return
        self._has_left = True
        if not self._clock.expired():
            self._clock.reschedule(asyncio.get_running_loop().time() + self._request.timeout)

    @property
    def connect_timeout(self) -> float:
        return self._request.connect_timeout

    @property
    def deadline(self) -> float | None:
        """When the answer must be whole, by the loop's clock."""
        return self._clock.when()

    def failed(self, why: str, *, connecting: bool) -> TransportError:
        """The error to raise, given whether the HTTP library says that it was still connecting.

        NotSent takes two witnesses, the library's word and ours: where they differ, a look-up is
        cheaper than a second payment.
        """
        if connecting and not self._has_left:
            return NotSent(self._line(why))
        return Unanswered(self._line(why))

    def spoiled(self, why: str) -> BadAnswer:
        """An answer began, and this is what is wrong with it."""
        return BadAnswer(self._line(why))

    def timed_out(self) -> TransportError:
        if self._has_left:
            return Unanswered(self._line(f"no answer within {self._request.timeout:g} s"))
        return NotSent(self._line(f"no connection within {self._request.connect_timeout:g} s"))

    def _line(self, why: str) -> str:
        return f"{self._request.method} {safe_url(self._request.url)}: {redact(why)}"


@asynccontextmanager
async def departing(request: Request) -> AsyncIterator[Departure]:
    """The time from asking for a connection to the answer's head.

    Raises:
        NotSent: no connection stood within `connect_timeout`.
        Unanswered: one did, but no answer began within `timeout`.
    """
    clock = asyncio.timeout(request.connect_timeout)
    departure = Departure(request, clock)
    try:
        async with clock:
            yield departure
    except TimeoutError:
        raise departure.timed_out() from None
