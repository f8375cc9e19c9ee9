"""One try of one delivery, with the far side scripted at the transport's own seam."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from transport.base import (
    BadAnswer,
    Blocked,
    NotSent,
    Request,
    Response,
    TransportError,
    Unanswered,
)
from webhooks import signing
from webhooks.send import ANSWER_BYTES, Message, Outcome, TryResult, send

NOW = 1_790_000_000
SECRET = "a secret"
MESSAGE = Message(
    delivery_id="del_1",
    event_id="evt_1",
    url="https://backend.example/hooks?token=abc",
    secret=SECRET,
    body=b'{"type":"video.completed"}',
)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[bytes, ...] = (b"ok",)
    breaks: TransportError | None = None
    read: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.body:
            self.read += len(piece)
            yield piece
        if self.breaks:
            raise self.breaks


@dataclass
class Receiver:
    """The far side: answers, or fails as the network does, and remembers what it was sent."""

    answer: Answer | TransportError
    requests: list[Request] = field(default_factory=list)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Answer]:
        self.requests.append(request)
        if isinstance(self.answer, TransportError):
            raise self.answer
        yield self.answer

    async def send(self, request: Request) -> Response:
        raise NotImplementedError

    async def close(self) -> None:
        return


def deliver(answer: Answer | TransportError) -> tuple[TryResult, Receiver]:
    receiver = Receiver(answer)
    return asyncio.run(send(MESSAGE, client=receiver, now=NOW)), receiver


def test_a_try_is_one_signed_post_of_the_stored_bytes() -> None:
    result, receiver = deliver(Answer(204, body=()))

    (request,) = receiver.requests
    assert (request.method, request.url) == ("POST", MESSAGE.url)
    assert request.content == MESSAGE.body
    assert request.timeout == 15
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Longtake/")
    assert request.headers["webhook-id"] == MESSAGE.event_id
    assert signing.verify(SECRET, headers=request.headers, body=MESSAGE.body, now=NOW)
    assert result.outcome is Outcome.DELIVERED
    assert result.milliseconds >= 0


def test_without_a_secret_the_same_post_is_unsigned() -> None:
    receiver = Receiver(Answer(200))

    asyncio.run(send(replace(MESSAGE, secret=None), client=receiver, now=NOW))

    (request,) = receiver.requests
    assert request.headers["webhook-id"] == MESSAGE.event_id
    assert request.headers["webhook-timestamp"] == str(NOW)
    assert "webhook-signature" not in request.headers


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, Outcome.DELIVERED) for status in (200, 201, 202, 204, 299)),
        *((status, Outcome.RETRY) for status in (301, 302, 304, 307, 308)),
        *((status, Outcome.RETRY) for status in (400, 401, 404, 409, 429, 500, 502, 503, 504, 600)),
        (410, Outcome.GONE),
    ],
)
def test_only_2xx_delivers_and_only_410_stops(status: int, outcome: Outcome) -> None:
    result, _ = deliver(Answer(status, headers={"location": "https://elsewhere.example/?token=1"}))

    assert (result.outcome, result.status) == (outcome, status)
    assert (result.error is None) == (outcome is Outcome.DELIVERED)
    assert "token" not in (result.error or "")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (NotSent("connection refused"), "connection refused"),
        (Unanswered("no answer within 15 s"), "no answer within 15 s"),
        (BadAnswer("the answer is cut off"), "the answer is cut off"),
        (Unanswered(), "Unanswered"),
    ],
)
def test_a_network_failure_is_told_in_words_and_tried_again(
    failure: TransportError, words: str
) -> None:
    result, _ = deliver(failure)

    assert (result.outcome, result.status, result.error) == (Outcome.RETRY, None, words)


def test_a_blocked_address_is_not_told_to_the_one_who_aimed_at_it() -> None:
    result, _ = deliver(Blocked("internal.example leads to 10.1.2.3"))

    assert result.outcome is Outcome.RETRY
    assert result.error == "the address is not public"


@pytest.mark.parametrize(
    ("status", "seconds"), [(429, 120.0), (503, 120.0), (500, None), (200, None), (410, None)]
)
def test_retry_after_counts_where_the_receiver_pleads_for_time(
    status: int, seconds: float | None
) -> None:
    result, _ = deliver(Answer(status, headers={"retry-after": "120"}))

    assert result.retry_after == seconds


def test_a_long_answer_is_read_a_little_and_still_delivers() -> None:
    answer = Answer(200, body=(b"x" * 1000,) * 1000)

    result, _ = deliver(answer)

    assert result.outcome is Outcome.DELIVERED
    assert answer.read <= ANSWER_BYTES + 1000


def test_a_body_that_breaks_off_changes_nothing_once_the_status_is_there() -> None:
    result, _ = deliver(Answer(200, breaks=BadAnswer("cut off")))

    assert (result.outcome, result.error) == (Outcome.DELIVERED, None)


def test_a_message_shows_neither_its_secret_nor_its_address_nor_its_body() -> None:
    shown = repr(MESSAGE)

    assert all(part not in shown for part in (SECRET, "backend.example", "video.completed"))
