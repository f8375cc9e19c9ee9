"""What fal and Replicate call back, with signatures that our own adapters take for genuine."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, Protocol

import httpx
import pytest
from aiohttp import web

from providers.base import Provider
from providers.vendors.fal.fal import Fal
from providers.vendors.replicate import Replicate

pytestmark = pytest.mark.anyio

FAL = {"Authorization": "Key id:secret"}
REPLICATE = {"Authorization": "Bearer r8_test"}
LONG_ENOUGH = 100.0
#: Seconds of real time in which a callback that is due has certainly come.
SOON = 5.0


class Clock(Protocol):
    now: float

    def advance(self, seconds: float) -> None: ...


class Call(NamedTuple):
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """A server of ours that keeps what it is told."""

    def __init__(self) -> None:
        self.url = ""
        self._heard: asyncio.Queue[Call] = asyncio.Queue()

    async def hear(self, request: web.Request) -> web.Response:
        await self._heard.put(Call(request.headers, await request.read()))
        return web.Response(status=204)

    async def next(self) -> Call:
        return await asyncio.wait_for(self._heard.get(), timeout=SOON)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/callback", receiver.hear)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    yield receiver
    await runner.cleanup()


def check(call: Call, provider: Provider, *, secret: str, now: float, operation: str) -> None:
    genuine = provider.callback_is_genuine
    assert genuine(call.headers, call.body, secret=secret, now=now)
    assert not genuine(call.headers, call.body + b" ", secret=secret, now=now)
    assert provider.callback_operation(call.body) == operation


async def test_fal_calls_back_once_a_request_has_ended(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    keys = (await client.get("/fal/.well-known/jwks.json")).text
    url = "/fal/fal-ai/pika/v2.2/text-to-video"
    for prompt, status in (("a cat", "OK"), ("[sim:moderate] a cat", "ERROR")):
        taken = await client.post(
            url, params={"fal_webhook": receiver.url}, json={"prompt": prompt}, headers=FAL
        )
        clock.advance(LONG_ENOUGH)

        call = await receiver.next()

        request = taken.json()["request_id"]
        check(call, Fal(), secret=keys, now=clock.now, operation=request)
        told = httpx.Response(200, content=call.body).json()
        assert told["status"] == status
        assert set(told["payload"]) == ({"video"} if status == "OK" else {"detail"})


async def test_replicate_calls_back_for_the_events_that_were_asked_for(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    secret = (await client.get("/_sim/env")).json()["REPLICATE_WEBHOOK_SECRET"]
    body = {
        "input": {"prompt": "a cat"},
        "webhook": receiver.url,
        "webhook_events_filter": ["start", "completed"],
    }
    url = "/replicate/v1/models/google/veo-3.1-fast/predictions"
    prediction = (await client.post(url, json=body, headers=REPLICATE)).json()["id"]
    for seconds, status in ((21.0, "processing"), (LONG_ENOUGH, "succeeded")):
        clock.advance(seconds)

        call = await receiver.next()

        check(call, Replicate(), secret=secret, now=clock.now, operation=prediction)
        assert httpx.Response(200, content=call.body).json()["status"] == status
