"""Tracks how far a request has got, which decides between NotSent and Unanswered."""

from types import TracebackType
from typing import Self

from transport.base import BadAnswer, NotSent, Request, TooLarge, TransportError, Unanswered
from transport.redact import redact, safe_url
from transport.timeout import MovableTimeout


class SendProgress:
    """One request's progress and timeout; a context manager for the task that sends it.

    A client calls `mark_sent` before the first byte may go out and `mark_responded` when a response
    has begun; a timeout before, between or after becomes NotSent, Unanswered or BadAnswer.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._is_sent = False
        self._has_responded = False
        self._is_too_late = False

    def __enter__(self) -> Self:
        self._timeout = MovableTimeout(self.request.connect_timeout)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timeout.stop(error):
            raise self._timeout_error() from None

    def mark_sent(self) -> None:
        """The connection is established: `timeout` starts, and no later error is NotSent.

        Raises:
            NotSent: `begin_by` has passed; raised once, as a client may then close the connection.
        """
        if self._is_sent or self._is_too_late:
            return
        if self.request.begin_by is not None and self.request.begin_by.is_over:
            self._is_too_late = True
            seconds = self.request.begin_by.seconds
            raise NotSent(self._describe(f"not started within {seconds:g} s"))
        self._is_sent = True
        self._timeout.move(self.request.timeout)

    def mark_responded(self) -> None:
        """The response headers have arrived: any later error is a BadAnswer."""
        self._has_responded = True

    @property
    def deadline(self) -> float:
        """When the response must be complete, in loop time."""
        return self._timeout.ends_at

    def failed(self, why: str, *, connecting: bool) -> TransportError:
        """The error to raise; `connecting` is the HTTP library's claim that it was not connected.

        NotSent requires both that claim and our own record: if they differ, a look-up costs less
        than paying twice.
        """
        if connecting and not self._is_sent:
            return NotSent(self._describe(why))
        return Unanswered(self._describe(why))

    def bad_answer(self, why: str) -> BadAnswer:
        """The error for a response that began but is unusable."""
        return BadAnswer(self._describe(why))

    def too_large(self) -> TooLarge:
        """The error for a response that is larger than the request allows."""
        return TooLarge(self._describe(f"response larger than {self.request.max_bytes} bytes"))

    def _timeout_error(self) -> TransportError:
        if not self._is_sent:
            return NotSent(
                self._describe(f"no connection within {self.request.connect_timeout:g} s")
            )
        if not self._has_responded:
            return Unanswered(self._describe(f"no response within {self.request.timeout:g} s"))
        return self.bad_answer(f"response incomplete after {self.request.timeout:g} s")

    def _describe(self, why: str) -> str:
        return describe(self.request, why)


def describe(request: Request, why: str) -> str:
    """An error's message: of the URL scheme and host alone, and no key."""
    return f"{request.method} {safe_url(request.url)}: {redact(why)}"
