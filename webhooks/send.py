"""One try of one delivery: sign, POST, say what became of it; `schedule` says when to try again."""

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

#: Seconds in which the receiver must have answered with its status.
TIMEOUT = 15.0
#: How much of the receiver's body is read, in bytes, and for how long, in seconds.
ANSWER_BYTES = 4096
ANSWER_SECONDS = 1.0
USER_AGENT = f"Longtake/{version('longtake')}"

#: The statuses whose Retry-After holds the next try back.
_PLEADS_FOR_TIME = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_LONGEST_ERROR = 300


class Outcome(StrEnum):
    """What one try came to."""

    #: 2xx: the receiver has it.
    DELIVERED = "delivered"
    #: Anything else: try again as long as the schedule lasts.
    RETRY = "retry"
    #: 410: the receiver wants no more of it.
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One delivery, ready to be sent; `body` is the event as it was rendered once."""

    delivery_id: str
    #: Sent as `webhook-id`: the same at every try, so that receivers can drop repeats.
    event_id: str
    url: str = field(repr=False)
    #: None sends it unsigned: its caller gave no `webhook_secret`.
    secret: str | None = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TryResult:
    """What is recorded of one try."""

    outcome: Outcome
    #: None when no answer came.
    status: int | None
    #: Why it is not delivered, in words: no query, no header, nothing of the receiver's body.
    error: str | None
    milliseconds: int
    #: Seconds the receiver asked us to wait (429 and 503 only).
    retry_after: float | None = None


async def send(message: Message, *, client: Client, now: int) -> TryResult:
    """POST one delivery once; `now` is the Unix time of this try, and `client` must be guarded.

    Sending twice is harmless: receivers tell repeats by the id. Whatever the network does is a
    result, not an error.

    Raises:
        BadSecret: the delivery's secret is unusable, which is refused when a job is accepted.
    """
    request = _request(message, now)
    started = time.monotonic()
    try:
        status, headers = await _post(request, client)
    except Blocked:
        # Not the guard's own words: which address a name leads to inside is nobody's business.
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
        # A long answer is no failure: we read its beginning and hang up.
        max_bytes=2**62,
    )


async def _post(request: Request, client: Client) -> tuple[int, Mapping[str, str]]:
    async with client.stream(request) as answer:
        await _read_a_little(answer)
        return answer.status, answer.headers


async def _read_a_little(answer: Stream) -> None:
    """Take the short body that most receivers send, so that they see no broken connection."""
    left = ANSWER_BYTES
    # The status has decided: a body that is slow or cut off changes nothing and tells nobody.
    with suppress(TransportError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            async for piece in answer.chunks():
                left -= len(piece)
                if left <= 0:
                    return


def _answered(status: int, headers: Mapping[str, str], *, now: int, started: float) -> TryResult:
    outcome, error = _judge(status)
    wait = None
    if status in _PLEADS_FOR_TIME:
        wait = retry_after(headers, now=now)
    return TryResult(
        outcome=outcome,
        status=status,
        error=error,
        milliseconds=_since(started),
        retry_after=wait,
    )


def _judge(status: int) -> tuple[Outcome, str | None]:
    match status // 100:
        case 2:
            return Outcome.DELIVERED, None
        case 3:
            return Outcome.RETRY, f"HTTP {status}: redirects are not followed"
        case _ if status == HTTPStatus.GONE:
            return Outcome.GONE, f"HTTP {status}: the receiver wants no more deliveries"
        case _:
            return Outcome.RETRY, f"HTTP {status}"


def _unanswered(error: str, started: float) -> TryResult:
    return TryResult(outcome=Outcome.RETRY, status=None, error=error, milliseconds=_since(started))


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
