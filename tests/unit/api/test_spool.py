"""Large bodies: only so many at a time, and none that stalls or has too many bytes."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack

import pytest
from starlette.requests import Request
from starlette.types import Message

from api import places, spool
from api.spool import Spool
from models.failure import RequestRefused

pytestmark = pytest.mark.anyio


def sent(*pieces: bytes, is_whole: bool = True) -> Request:
    """A request whose client sends these pieces, and then nothing unless it `is_whole`."""
    waiting: Iterable[Message] = iter(
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    )

    async def receive() -> Message:
        for message in waiting:
            return message
        if not is_whole:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_a_body_that_stalls_is_refused_and_leaves_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spool, "_NEXT_WITHIN", 0.01)
    one = Spool(most=1)

    with pytest.raises(RequestRefused) as caught:
        async with one.receive(sent(b"[", is_whole=False), tenant="acme"):
            pytest.fail("the body never arrived whole")

    assert caught.value.code == "body_timeout"
    async with one.receive(sent(b"[", b"]"), tenant="acme") as spooled:
        spooled.file.seek(0)
        assert spooled.file.read() == b"[]"


async def test_one_body_too_many_is_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "WAITS", 0.01)
    one = Spool(most=1)

    async with one.receive(sent(b"[]"), tenant="acme"):
        with pytest.raises(RequestRefused) as caught:
            async with one.receive(sent(b"[]"), tenant="acme"):
                pytest.fail("two bodies were received at once")

    assert caught.value.code == "too_many_uploads"
    assert caught.value.type == "service_unavailable"  # rendered with Retry-After
    async with one.receive(sent(b"[]"), tenant="acme"):
        pass


async def test_a_tenant_leaves_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAITS", 0.01)
    one = Spool()

    async with AsyncExitStack() as received:
        for _ in range(2):
            await received.enter_async_context(one.receive(sent(b"[]"), tenant="acme"))
        with pytest.raises(RequestRefused) as caught:
            await received.enter_async_context(one.receive(sent(b"[]"), tenant="acme"))
        await received.enter_async_context(one.receive(sent(b"[]"), tenant="other"))

    assert caught.value.code == "too_many_uploads"
    async with one.receive(sent(b"[]"), tenant="acme"):
        pass
