"""The decorator of webhook views: verified events alone reach the view."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import AsyncRequestFactory, RequestFactory, override_settings

from longtake import WebhookEvent
from longtake.django import client, webhook
from tests._django.conftest import SECRET

JOB = {"id": "job_vid_1", "status": "complete"}
BODY = json.dumps(
    {"type": "video.completed", "timestamp": "2026-11-22T01:02:03Z", "data": JOB}
).encode()


def signed(body: bytes = BODY, *, secret: str = SECRET, age: int = 0) -> dict[str, Any]:
    at = str(int(time.time()) - age)
    content = b".".join((b"evt_01", at.encode(), body))
    signature = base64.b64encode(hmac.digest(secret.encode(), content, hashlib.sha256)).decode()
    return {
        "webhook-id": "evt_01",
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{signature}",
    }


def post(headers: dict[str, Any], body: bytes = BODY) -> HttpRequest:
    factory = RequestFactory()
    return factory.post("/hook", body, content_type="application/json", headers=headers)


class Seen:
    """A view that keeps its events."""

    def __init__(self, answer: HttpResponse | None = None, **options: Any) -> None:
        self.events: list[WebhookEvent] = []

        @webhook(**options)  # type: ignore[untyped-decorator] # it takes views of any kind
        def view(request: HttpRequest, event: WebhookEvent) -> HttpResponse | None:
            self.events.append(event)
            return answer

        self.view = view


def test_a_verified_event_reaches_the_view() -> None:
    seen = Seen()

    assert seen.view(post(signed())).status_code == 204
    assert [(event.id, event.job.id) for event in seen.events] == [("evt_01", "job_vid_1")]


def test_the_views_own_answer_is_sent_and_needs_no_token() -> None:
    seen = Seen(HttpResponse("thanks"))
    request = post(signed())

    assert CsrfViewMiddleware(seen.view).process_view(request, seen.view, (), {}) is None
    assert seen.view(request).content == b"thanks"


def test_a_body_that_a_middleware_has_read_is_read_again() -> None:
    seen = Seen()
    request = post(signed())
    assert request.body == BODY

    assert seen.view(request).status_code == 204


def test_an_async_view_is_one() -> None:
    events = []

    @webhook
    async def view(request: HttpRequest, event: WebhookEvent) -> None:
        events.append(event.id)

    def request(body: bytes) -> HttpRequest:
        headers = signed()
        return AsyncRequestFactory().post("/", body, content_type="a/b", headers=headers)

    assert asyncio.run(view(request(BODY))).status_code == 204
    assert asyncio.run(view(request(b"{}"))).status_code == 400
    assert events == ["evt_01"]


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        (signed(), BODY + b" ", "no webhook-signature matches"),
        (signed(secret="whoever"), BODY, "no webhook-signature matches"),
        (signed(age=3600), BODY, "s old"),
        (signed() | {"webhook-id": "évt"}, BODY, "webhook-id"),
        ({}, BODY, "webhook-id is missing"),
        (signed(b"\xff"), b"\xff", "no event"),
    ],
)
def test_anything_else_is_answered_with_400(
    headers: dict[str, Any], body: bytes, said: str
) -> None:
    seen = Seen()

    answer = seen.view(post(headers, body))

    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert seen.events == []


def test_a_body_is_read_up_to_its_bound() -> None:
    seen = Seen(most_bytes=len(BODY) - 1)

    answer = seen.view(post(signed()))

    assert answer.status_code == 400
    assert b"more than" in answer.content
    assert seen.events == []
    assert Seen(most_bytes=len(BODY)).view(post(signed())).status_code == 204


def test_only_post_is_taken() -> None:
    answer = Seen().view(RequestFactory().get("/hook"))

    assert (answer.status_code, answer["Allow"]) == (405, "POST")


def test_secrets_may_be_several_and_the_views_own() -> None:
    assert Seen(secret=["new", SECRET]).view(post(signed())).status_code == 204
    assert Seen(secret="another").view(post(signed())).status_code == 400


def test_what_is_missing_in_the_settings_is_named() -> None:
    with override_settings(LONGTAKE={}), pytest.raises(ImproperlyConfigured, match="WEBHOOK_SEC"):
        Seen().view(post(signed()))
    with override_settings(LONGTAKE={"KEY": 1}), pytest.raises(ImproperlyConfigured, match="'KEY'"):
        client()
    wrong = {"API_KEY": "lt_key", "BASE_URL": "videos.example"}
    with override_settings(LONGTAKE=wrong), pytest.raises(ImproperlyConfigured, match="base_url"):
        client()
