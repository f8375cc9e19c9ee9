"""Streaming a video stops when nobody takes it any more."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from api.native import content
from api.native.content import VideoAnswer

SCOPE = {"type": "http", "method": "GET"}


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"piece"
        await asyncio.sleep(0)


def _answer() -> VideoAnswer:
    return VideoAnswer(_endless(), status=200, headers={"Content-Length": "1"})


def test_a_client_that_left_is_sent_nothing_more() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        """The server takes what is sent to nobody without a word."""

    async def stream() -> None:
        async with asyncio.timeout(5):
            await _answer()(SCOPE, receive, send)

    with pytest.raises(ClientDisconnect):
        asyncio.run(stream())


def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "TAKES_WITHIN", 0.01)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def stream() -> None:
        async with asyncio.timeout(5):
            await _answer()(SCOPE, receive, send)

    with pytest.raises(ClientDisconnect):
        asyncio.run(stream())
