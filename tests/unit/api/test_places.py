"""Large bodies wait for a place before they are received, and leave places to other tenants."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from api import places
from api.body import MAX_BODY, CappedBody, compared, read_body, read_json, takes_up_to
from api.large_bodies import LARGE, MOST_HERE_OF_TENANT, LargeBodies, is_large, leave
from models.failure import RequestRefused
from tasks.repeats import canonical_hash

pytestmark = pytest.mark.anyio


class Sent:
    """A request of a tenant, whose body comes in pieces; counts those that were taken."""

    def __init__(self, front: Any, *pieces: bytes, tenant: str = "acme", told: bool = True) -> None:
        self._waiting = list(pieces)
        self.taken = 0
        length = str(sum(map(len, pieces))).encode()
        self.request = Request(
            {
                "type": "http",
                "method": "POST",
                "headers": [(b"content-length", length)] if told else [],
                "app": SimpleNamespace(state=SimpleNamespace(front=front)),
                "state": {"key": SimpleNamespace(tenant=tenant)},
            },
            self._receive,
        )

    async def _receive(self) -> Message:
        if not self._waiting:
            return {"type": "http.request", "body": b"", "more_body": False}
        self.taken += 1
        return {"type": "http.request", "body": self._waiting.pop(0), "more_body": True}


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(places, "WAITS", 0.01)
    return SimpleNamespace(large_bodies=LargeBodies())


HALF = b" " * (LARGE // 2 + 1)


async def _fill(front: Any, tenant: str) -> list[Sent]:
    """Take all places of a tenant by bodies that are being received."""
    sent = [Sent(front, tenant=tenant) for _ in range(MOST_HERE_OF_TENANT)]
    for one in sent:
        await front.large_bodies.enter(one.request, tenant=tenant)
    return sent


async def test_a_body_without_a_place_is_refused_before_any_of_it_is_received(front: Any) -> None:
    first, *_ = await _fill(front, "acme")
    sent = Sent(front, HALF, HALF)

    with pytest.raises(RequestRefused) as caught:
        await read_body(sent.request)

    assert (caught.value.type, caught.value.code) == ("service_unavailable", "too_many_uploads")
    assert sent.taken == 0
    await leave(first.request.scope)
    assert await read_body(sent.request) == HALF + HALF


async def test_a_body_of_unknown_length_waits_once_it_is_large(front: Any) -> None:
    await _fill(front, "acme")
    sent = Sent(front, HALF, HALF, HALF, told=False)

    with pytest.raises(RequestRefused):
        await read_body(sent.request)

    assert sent.taken == 2


async def test_small_bodies_and_other_tenants_need_no_place_of_this_one(front: Any) -> None:
    await _fill(front, "acme")
    small, other = Sent(front, HALF), Sent(front, HALF, HALF, tenant="other")

    assert await read_body(small.request) == HALF
    assert await read_body(other.request) == HALF + HALF
    assert not is_large(small.request)
    assert is_large(other.request)


async def test_a_client_that_still_sends_reads_why_its_body_has_no_place(front: Any) -> None:
    sent = Sent(front, HALF, HALF, HALF)
    answered: list[tuple[int, bool]] = []

    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b"too many"})

    async def send(message: Message) -> None:
        answered.append((sent.taken, message.get("more_body", False)))

    scope = {**sent.request.scope, "path": "/"}
    capped = CappedBody(refuse, [Route("/", takes_up_to(MAX_BODY)(_endpoint), methods=["POST"])])
    await capped(scope, sent.request.receive, send)

    # The start, the words, and, when the whole body is discarded, the end.
    assert answered == [(0, False), (0, True), (3, False)]


def _endpoint() -> None:
    """What only its route is needed of."""


async def test_one_of_a_tenants_bodies_is_worked_on_at_a_time(front: Any) -> None:
    first, second = Sent(front, HALF, HALF), Sent(front, HALF, HALF)
    await read_body(first.request)

    with pytest.raises(RequestRefused):
        await read_body(second.request)

    assert second.taken == 2
    await leave(first.request.scope)


async def test_a_large_body_is_parsed_and_hashed_in_a_thread(
    front: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threaded: list[str] = []

    async def to_thread(work: Any, *arguments: Any) -> Any:
        threaded.append(work.__name__)
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    large, small = Sent(front, b'"' + HALF, HALF + b'"'), Sent(front, b'"a"')
    value = await read_json(large.request)

    assert canonical_hash(await compared(large.request, value)) == canonical_hash(value)
    assert threaded == ["parse_json", "hashed"]
    assert await compared(small.request, await read_json(small.request)) == "a"
    assert threaded == ["parse_json", "hashed"]
