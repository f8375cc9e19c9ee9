"""The simulator calls back at each change, as often as the vendor, and this machine only."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import httpx
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from simulator.upstreams.kling.shared import WEBHOOK_SECRET

pytestmark = pytest.mark.anyio

KLING = {"Authorization": "Bearer kling-test-key"}
LUMA = {"Authorization": "Bearer luma-test-key"}
LONG_ENOUGH = 100.0
#: Seconds of real time in which a callback that is due has certainly come.
SOON = 5.0


class Clock(Protocol):
    def __call__(self) -> float: ...
    def advance(self, seconds: float) -> None: ...


@dataclass(slots=True)
class Receiver:
    """Keeps what it is sent, and answers with the statuses that wait, then with 200."""

    url: str = ""
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    #: What it answers with, given what it was sent.
    replies: Callable[[bytes], bytes] = lambda _body: b""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def hear(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        self.heard.append((headers, body))
        self.changed.set()
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, body=self.replies(body))

    async def words(self, count: int, of: str) -> list[object]:
        """The status words of the first so many callbacks, once they have come."""
        await self.until(lambda: len(self.heard) >= count)
        return [httpx.Response(200, content=body).json()[of] for _, body in self.heard]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not holds():
                await self.changed.wait()
                self.changed.clear()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/callback", receiver.hear)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    yield receiver
    await runner.cleanup()


async def luma(client: httpx.AsyncClient, url: str, prompt: str = "a cat") -> str:
    body = {"model": "ray-2", "prompt": prompt, "callback_url": url}
    answer = await client.post("/luma-dream-machine/v1/generations/video", json=body, headers=LUMA)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def kling(client: httpx.AsyncClient, url: str) -> str:
    body = {"prompt": "a cat", "options": {"callback_url": url, "external_task_id": "m1"}}
    answer = await client.post("/kling/text-to-video/kling-3.0", json=body, headers=KLING)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["id"])


async def deliveries(client: httpx.AsyncClient) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = (await client.get("/_sim/callbacks")).json()["data"]
    return rows


async def test_luma_tells_dreaming_and_completed_unsigned(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    generation = await luma(client, receiver.url)
    assert receiver.heard == []

    clock.advance(21)
    assert await receiver.words(1, "state") == ["dreaming"]
    clock.advance(LONG_ENOUGH)
    assert await receiver.words(2, "state") == ["dreaming", "completed"]

    headers, body = receiver.heard[1]
    told = httpx.Response(200, content=body).json()
    assert told["id"] == generation
    assert told["assets"]["video"].startswith(str(client.base_url.join("/luma-dream-machine/")))
    assert not [name for name in headers if name.startswith("webhook-")]


async def test_a_callback_that_a_fault_loses_is_never_sent(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    provider = {"provider": "luma_dream_machine"}
    fault = {**provider, "on": "callback", "do": "drop_before_accept"}
    assert (await client.post("/_sim/faults", json=[fault])).status_code == 200
    await luma(client, receiver.url)

    clock.advance(21)
    async with asyncio.timeout(SOON):
        while (await client.get("/_sim/faults")).json()["data"]:
            pass
    clock.advance(LONG_ENOUGH)

    assert await receiver.words(1, "state") == ["completed"]
    assert len(await deliveries(client)) == 1


async def test_luma_tries_three_times_more_where_the_answer_is_not_200(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    receiver.answers = [500, 204, 302]
    await luma(client, receiver.url)

    clock.advance(21)

    await receiver.until(lambda: len(receiver.heard) == 4)
    assert len({body for _, body in receiver.heard}) == 1


async def test_kling_tells_every_change_signed_as_the_documents_say(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    task = await kling(client, receiver.url)

    clock.advance(21)
    await receiver.words(1, "status")
    clock.advance(LONG_ENOUGH)

    assert await receiver.words(2, "status") == ["processing", "succeeded"]
    for headers, body in receiver.heard:
        told = httpx.Response(200, content=body).json()
        assert (told["id"], told["external_id"]) == (task, "m1")
        assert headers["webhook-timestamp"] in {str(int(clock()) - late) for late in (0, 100)}
        assert headers["webhook-signature"] == signature(headers, body)


def signature(headers: dict[str, str], body: bytes) -> str:
    """What the standard's own library makes of the same."""
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), tz=UTC)
    return Webhook(WEBHOOK_SECRET).sign(headers["webhook-id"], moment, body.decode())


@pytest.mark.parametrize("v2", [False, True])
async def test_minimax_wants_its_challenge_echoed_and_then_tells_each_change(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver, *, v2: bool
) -> None:
    receiver.replies = lambda body: body
    task = (await minimax(client, receiver.url, v2=v2)).json()["task_id"]
    (challenge,) = receiver.heard
    assert list(json.loads(challenge[1])) == ["challenge"]

    clock.advance(21)
    await receiver.until(lambda: len(receiver.heard) == 2)
    clock.advance(LONG_ENOUGH)
    await receiver.until(lambda: len(receiver.heard) == 3)

    told = [json.loads(body) for _, body in receiver.heard[1:]]
    if v2:
        assert [one["task"]["id"] for one in told] == [task, task]
        assert [one["task"]["status"] for one in told] == ["running", "succeeded"]
    else:
        assert [one["task_id"] for one in told] == [task, task]
        assert [one["status"] for one in told] == ["processing", "success"]
        assert told[1]["file_id"]


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("answer", [b"", b'{"challenge": "another"}', b"{}", b"\xff", 204, 500])
async def test_minimax_takes_nothing_where_its_challenge_is_not_echoed(
    client: httpx.AsyncClient, receiver: Receiver, answer: bytes | int, *, v2: bool
) -> None:
    if isinstance(answer, int):
        receiver.replies, receiver.answers = (lambda body: body), [answer]
    else:
        receiver.replies = lambda _body: answer
    said = await minimax(client, receiver.url, v2=v2)
    assert "fail to check callback url" in said.text
    assert said.status_code == (400 if v2 else 200)
    assert "2013" in said.text
    assert (await client.get("/_sim/bill")).json()["data"] == []


async def minimax(client: httpx.AsyncClient, url: str, *, v2: bool) -> httpx.Response:
    older = {"model": "MiniMax-Hailuo-2.3", "prompt": "a cat"}
    newer = {
        "model": "MiniMax-H3",
        "content": [{"type": "text", "text": "a cat"}],
        "resolution": "768P",
        "duration": 4,
        "ratio": "16:9",
    }
    return await client.post(
        f"/minimax/{'v2' if v2 else 'v1'}/video_generation",
        json=(newer if v2 else older) | {"callback_url": url},
        headers={"Authorization": "Bearer minimax-test-key"},
    )


async def test_gemini_names_the_interaction_that_has_ended_and_no_more(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    body = {
        "model": "gemini-omni-1.1-flash",
        "background": True,
        "input": "a cat",
        "response_format": {"type": "video", "delivery": "uri"},
        "webhook_config": {"uris": [receiver.url]},
    }
    key = {"x-goog-api-key": "AIza-test"}
    begun = (await client.post("/gemini/v1/interactions", json=body, headers=key)).json()

    clock.advance(LONG_ENOUGH)

    assert await receiver.words(1, "type") == ["interaction.completed"]
    told = httpx.Response(200, content=receiver.heard[0][1]).json()
    assert told["data"] == {"id": begun["id"]}
    assert set(told) == {"type", "version", "timestamp", "data"}


async def test_a_deleted_generation_is_not_told_of(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    # Given one that is deleted and one that is not
    deleted = await luma(client, receiver.url)
    url = f"/luma-dream-machine/v1/generations/{deleted}"
    assert (await client.delete(url, headers=LUMA)).status_code == 204
    kept = await luma(client, receiver.url, "a dog")
    # When both would have ended
    clock.advance(LONG_ENOUGH)
    # Then only the other is told
    assert await receiver.words(1, "id") == [kept]
    assert [row["operation_id"] for row in await deliveries(client)] == [kept]


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/callback",
        "http://longtake.example.com/callback",
        "http://localhost.example.com/",
        "ftp://127.0.0.1/",
        "http://[::1",
        "not an address",
    ],
)
async def test_other_machines_are_never_called(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver, url: str
) -> None:
    await luma(client, url)
    await luma(client, receiver.url, "a dog")

    clock.advance(LONG_ENOUGH)

    await receiver.words(1, "state")
    assert {row["url"] for row in await deliveries(client)} == {receiver.url}


async def test_what_was_told_and_answered_can_be_asked_for_until_a_reset(
    client: httpx.AsyncClient, clock: Clock, receiver: Receiver
) -> None:
    receiver.answers = [503]
    generation = await luma(client, receiver.url)
    clock.advance(LONG_ENOUGH)
    await receiver.until(lambda: len(receiver.heard) == 2)

    (row,) = await deliveries(client)

    assert row["provider"] == "luma_dream_machine"
    assert row["operation_id"] == generation
    assert row["phase"] == "succeeded"
    answers = row["answers"]
    assert isinstance(answers, list)
    assert answers[0] == 503
    await client.post("/_sim/reset")
    assert await deliveries(client) == []
