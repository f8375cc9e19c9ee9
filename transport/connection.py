"""One connection of the getter: sends a request at a time, and tells what became of it."""

import asyncio
from collections.abc import Callable
from typing import cast

from transport.answer import Answer, Corrupt, Malformed, Oversized
from transport.base import BadAnswer, Request, Response, TooLarge, TransportError, Unanswered
from transport.progress import describe

#: Seconds for which a connection is kept without a request, as in aiohttp.
KEPT = 15.0


class Stale(Exception):
    """The server ended a kept connection before it answered: the request may be sent again."""


class Connection(asyncio.Protocol):
    """One connection; `until` is when it is overdue, in loop time, whatever it does."""

    __slots__ = (
        "_answer",
        "_freed",
        "_is_ending",
        "_is_used",
        "_loop",
        "_lost",
        "_outcome",
        "_request",
        "_transport",
        "until",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        freed: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self._loop = loop
        self._freed, self._lost = freed, lost
        self._answer = Answer()
        self._transport: asyncio.Transport | None = None
        self._outcome: asyncio.Future[Response] | None = None
        self._is_used = self._is_ending = False
        self.until = loop.time() + KEPT

    def send(
        self, message: bytes, request: Request, *, seconds: float
    ) -> "asyncio.Future[Response]":
        """Send a whole request; its answer must be complete within `seconds`.

        The future raises Stale, Unanswered, BadAnswer or TooLarge. Whoever stops waiting for it
        calls `abandon`.
        """
        self.until = self._loop.time() + seconds
        self._request = request
        self._answer.begin(request.max_bytes)
        outcome = self._outcome = self._loop.create_future()
        if self._transport is None or self._is_ending:
            self._fail(self._cut_off(ConnectionResetError.__name__))
        else:
            self._transport.write(message)
        return outcome

    def abandon(self) -> None:
        """End the connection now: nobody waits for its answer."""
        self._outcome = None
        self._is_ending = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_lost(self) -> bool:
        """Whether it has ended."""
        return self._transport is None

    def close(self) -> None:
        """End the connection, whose answer then is an error."""
        self._fail(Unanswered(describe(self._request, "closed")) if self._outcome else None)

    def end_overdue(self) -> None:
        """Its time is up: end its request, or the connection that nobody used."""
        self._fail(self._overdue() if self._outcome else None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        outcome, answer = self._outcome, self._answer
        if outcome is None:  # bytes that answer nothing must not answer the next request
            self.abandon()
            return
        try:
            answer.feed(data)
        except Malformed:
            self._fail(BadAnswer(describe(self._request, "malformed HTTP response")))
        except Oversized:
            self._fail(self._too_large())
        else:
            if answer.is_complete:
                self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._outcome is not None:
            if self._answer.close():
                self._finish()
            else:
                self._fail(self._cut_off(type(error or ConnectionResetError()).__name__))
        self._lost(self)

    def _finish(self) -> None:
        outcome, answer = self._outcome, self._answer
        self._outcome = None
        if outcome is None or outcome.done():  # whoever waited was cancelled just now
            self.abandon()
            return
        try:
            content = answer.body()
        except Oversized:
            outcome.set_exception(self._too_large())
        except Corrupt:
            why = "response cut off or corrupt (packed)"
            outcome.set_exception(BadAnswer(describe(self._request, why)))
        else:
            outcome.set_result(
                Response(status=answer.status, headers=answer.fields(), content=content)
            )
        self._is_used = True
        if answer.is_last:
            self.abandon()
        elif self._transport is not None:
            self.until = self._loop.time() + KEPT
            self._freed(self)

    def _fail(self, error: Exception | None) -> None:
        outcome = self._outcome
        self.abandon()
        if outcome is not None and error is not None and not outcome.done():
            outcome.set_exception(error)

    def _cut_off(self, why: str) -> Exception:
        if self._answer.has_head:
            return BadAnswer(describe(self._request, f"response cut off or corrupt ({why})"))
        if self._is_used and not self._answer.has_begun:
            return Stale()
        return Unanswered(describe(self._request, why))

    def _overdue(self) -> TransportError:
        seconds = f"{self._request.timeout:g} s"
        if self._answer.has_head:
            return BadAnswer(describe(self._request, f"response incomplete after {seconds}"))
        return Unanswered(describe(self._request, f"no response within {seconds}"))

    def _too_large(self) -> TooLarge:
        return TooLarge(
            describe(self._request, f"response larger than {self._request.max_bytes} bytes")
        )
