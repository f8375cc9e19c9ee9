"""Sends one webhook once and classifies the result; `schedule` decides when to retry."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from importlib.metadata import version

from transport.base import Blocked, Client, Request, Stream, TransportError
from transport.headers import retry_after
from webhooks import signing

#: Seconds for the receiver to respond with a status.
TIMEOUT = 15.0
#: How much of the response body is read, in bytes, and for how long, in seconds.
ANSWER_BYTES = 4096
ANSWER_SECONDS = 1.0
USER_AGENT = f"Longtake/{version('longtake-server')}"

#: Statuses whose Retry-After is honoured.
_HONOURS_RETRY_AFTER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_LONGEST_ERROR = 300


class Outcome(StrEnum):
    """The result of one try."""

    #: 2xx: received.
    DELIVERED = "delivered"
    #: Anything else: retry while the schedule lasts.
    RETRY = "retry"
    #: 410: the receiver has stopped accepting it.
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One delivery, ready to send; `body` is the event as rendered once."""

    delivery_id: str
    #: Sent as `webhook-id`: the same at every try, so that receivers can drop duplicates.
    event_id: str
    url: str = field(repr=False)
    #: None if the caller gave no `webhook_secret`: the delivery is unsigned.
    secret: str | None = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TryResult:
    """The record of one try."""

    outcome: Outcome
    #: None if there was no response.
    status: int | None
    #: Why delivery failed; contains no query, header or response body.
    error: str | None
    milliseconds: int
    #: Seconds the receiver asked us to wait (429 and 503 only).
    retry_after: float | None = None

    @property
    def is_failure_of_host(self) -> bool:
        """Whether it says that the host is in trouble, not only that it refuses this request."""
        if self.status is None:
            return True
        is_overloaded = self.status == HTTPStatus.TOO_MANY_REQUESTS
        return is_overloaded or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


async def send(message: Message, *, client: Client, now: int) -> TryResult:
    """POST one delivery once; `now` is this try's Unix time, and `client` must be guarded.

    Sending twice is harmless: receivers deduplicate by id. Network failures are results, not
    errors.

    Raises:
        BadSecret: the secret is unusable; validation refuses such a secret at submission.
    """
    request = _request(message, now)
    started = time.monotonic()
    try:
        status, headers = await _post(request, client)
    except Blocked:
        # The guard's own message would reveal what a name resolves to on our network.
        return _unanswered("the address is not public", started)
    except TransportError as error:
        return _unanswered(str(error)[:_LONGEST_ERROR] or type(error).__name__, started)
    return _answered(status, headers, now=now, started=started)


def _request(message: Message, now: int) -> Request:
    signed = signing.headers(
        message.secret, message_id=message.event_id, timestamp=now, body=message.body
    )
    return Request(
        method="POST",
        url=message.url,
        headers={"content-type": "application/json", "user-agent": USER_AGENT, **signed},
        content=message.body,
        timeout=TIMEOUT,
        # A long response is not a failure: we read its beginning and close.
        max_bytes=2**62,
    )


async def _post(request: Request, client: Client) -> tuple[int, Mapping[str, str]]:
    async with client.stream(request) as answer:
        await _read_prefix(answer)
        return answer.status, answer.headers


async def _read_prefix(answer: Stream) -> None:
    """Read the short body that most receivers send, so that they see a clean close."""
    left = ANSWER_BYTES
    # The status alone decides: a slow or truncated body does not matter.
    with suppress(TransportError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            async for piece in answer.chunks():
                left -= len(piece)
                if left <= 0:
                    return


def _answered(status: int, headers: Mapping[str, str], *, now: int, started: float) -> TryResult:
    outcome, error = _classify(status)
    wait = None
    if status in _HONOURS_RETRY_AFTER:
        wait = retry_after(headers, now=now)
    return TryResult(
        outcome=outcome,
        status=status,
        error=error,
        milliseconds=_elapsed_ms(started),
        retry_after=wait,
    )


def _classify(status: int) -> tuple[Outcome, str | None]:
    match status // 100:
        case 2:
            return Outcome.DELIVERED, None
        case 3:
            return Outcome.RETRY, f"HTTP {status}: redirects are not followed"
        case _ if status == HTTPStatus.GONE:
            return Outcome.GONE, f"HTTP {status}: the receiver accepts no more deliveries"
        case _:
            return Outcome.RETRY, f"HTTP {status}"


def _unanswered(error: str, started: float) -> TryResult:
    return TryResult(
        outcome=Outcome.RETRY, status=None, error=error, milliseconds=_elapsed_ms(started)
    )


def _elapsed_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
