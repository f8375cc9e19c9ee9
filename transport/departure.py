"""Whether a request has left: the one rule that tells NotSent from Unanswered, and its clock."""

from types import TracebackType
from typing import Self

from transport.base import BadAnswer, NotSent, Request, TransportError, Unanswered
from transport.clock import Clock
from transport.redact import redact, safe_url


class Departure:
    """One exchange under its clock, entered with `with`, in the task that makes it.

    A client calls `leave` before the first byte may go out and `arrive` when an answer has begun;
    what runs out of time in between becomes NotSent, Unanswered or BadAnswer.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._has_left = False
        self._has_begun = False

    def __enter__(self) -> Self:
        self._clock = Clock(self.request.connect_timeout)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._clock.stop(error):
            raise self._timed_out() from None

    def leave(self) -> None:
        """The connection stands: from here on nothing is NotSent, and `timeout` begins to run."""
        if self._has_left:
            return
        self._has_left = True
        self._clock.move(self.request.timeout)

    def arrive(self) -> None:
        """An answer's head is there: what goes wrong now is a BadAnswer."""
        self._has_begun = True

    @property
    def deadline(self) -> float:
        """When the answer must be whole, by the loop's clock."""
        return self._clock.ends_at

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

    def _timed_out(self) -> TransportError:
        if not self._has_left:
            return NotSent(self._line(f"no connection within {self.request.connect_timeout:g} s"))
        if not self._has_begun:
            return Unanswered(self._line(f"no answer within {self.request.timeout:g} s"))
        return self.spoiled(f"no whole answer within {self.request.timeout:g} s")

    def _line(self, why: str) -> str:
        return f"{self.request.method} {safe_url(self.request.url)}: {redact(why)}"
