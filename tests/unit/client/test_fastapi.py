"""The FastAPI dependency: verified events alone reach the endpoint."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI

from longtake import WebhookEvent
from longtake.fastapi import webhook
from webhooks import signing

SECRET = "a shared secret of many words"
JOB = {"id": "job_vid_1", "status": "complete"}
BODY = json.dumps(
    {"type": "video.completed", "timestamp": "2026-11-22T01:02:03Z", "data": JOB}
).encode()


def signed(body: bytes = BODY, *, secret: str = SECRET, age: int = 0) -> dict[str, str]:
    at = int(time.time()) - age
    return signing.headers(secret, message_id="evt_01", timestamp=at, body=body)


class Receiver:
    """An app with one endpoint, and the events that came to it."""

    def __init__(self, **options: int) -> None:
        self.app = FastAPI()
        self.events: list[WebhookEvent] = []
        verified = webhook([SECRET, "the next one"], **options)

        @self.app.post("/hook", status_code=204)
        async def hook(event: Annotated[WebhookEvent, Depends(verified)]) -> None:
            self.events.append(event)

    def post(
        self, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes] = BODY
    ) -> httpx.Response:
        async def answer() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                return await client.post("/hook", content=body, headers=headers)

        return asyncio.run(answer())


def test_a_verified_event_reaches_the_endpoint() -> None:
    receiver = Receiver()

    assert receiver.post(signed()).status_code == 204
    assert receiver.post(signed(secret="the next one")).status_code == 204
    assert [(event.id, event.job.id) for event in receiver.events] == [("evt_01", "job_vid_1")] * 2


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        pytest.param(signed, BODY + b" ", "no webhook-signature matches", id="another-body"),
        pytest.param(
            lambda: signed(secret="whoever"), BODY, "no webhook-signature matches", id="secret"
        ),
        pytest.param(lambda: signed(age=3600), BODY, "s old", id="stale"),
        pytest.param(dict, BODY, "webhook-id is missing", id="unsigned"),
        pytest.param(lambda: signed(b"\xff"), b"\xff", "no event", id="not-utf-8"),
        pytest.param(lambda: signed(b""), b"", "no event", id="empty"),
    ],
)
def test_anything_else_is_answered_with_400(
    headers: Callable[[], dict[str, str]], body: bytes, said: str
) -> None:
    receiver = Receiver()

    answer = receiver.post(headers(), body)

    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert receiver.events == []


def test_no_more_of_a_body_is_read_than_its_bound() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b" " * 1000

    answer = Receiver(most_bytes=5000).post(signed(), endless())

    assert answer.status_code == 400
    assert "more than 5000 bytes" in answer.json()["detail"]
    assert sent < 10
    assert Receiver(most_bytes=len(BODY)).post(signed()).status_code == 204


def test_a_caller_that_hangs_up_is_no_error_of_the_app() -> None:
    receiver = Receiver()
    told = []

    async def call() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/hook",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in signed().items()],
        }

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            told.append(message.get("status"))

        await receiver.app(scope, receive, send)  # type: ignore[arg-type] # a scope is any mapping

    asyncio.run(call())

    assert told[0] == 400
    assert receiver.events == []
