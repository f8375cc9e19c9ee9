"""What is particular to Replicate: outputs of two kinds, removed results, limits told in words."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from catalog.models import Catalog
from models.failure import Fault
from models.scene import Scene
from providers.base import Ask, Call, Update
from providers.vendors.replicate import INPUTS, Replicate
from settings import Settings
from transport.base import Response

LINK = "https://replicate.delivery/xezq/a/tmp.mp4"
NOW = 1_800_000_000.0
SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()


def looked(**fields: object) -> Update:
    flow = Replicate().poll(["p"])
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(Response(status=200, headers={}, content=json.dumps(fields).encode()))
    update: Update = done.value.value["p"]
    return update


def explained(status: int, body: object, **headers: str) -> Any:
    content = json.dumps(body).encode()
    return Replicate().explain(Response(status=status, headers=headers, content=content))


def submitted(**changes: Any) -> Call:
    values: dict[str, Any] = {
        "attempt_id": "a1",
        "marker": "m1",
        "upstream": "google/veo-3.1-fast",
        "scene": Scene[str](prompt="a cat"),
        "duration_seconds": 8,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "width": 1280,
        "height": 720,
    }
    return next(Replicate().submit(Ask(**values | changes)))


@pytest.mark.parametrize(
    ("output", "links"),
    [(LINK, [LINK]), ([LINK], [LINK]), ([LINK, LINK + "2"], [LINK, LINK + "2"])],
)
def test_an_output_is_one_link_or_a_list(output: object, links: list[str]) -> None:
    update = looked(status="succeeded", output=output)
    assert [video.url for video in update.videos] == links


def test_a_video_that_was_removed_is_not_waited_for() -> None:
    update = looked(status="succeeded", output=None, data_removed=True)
    assert update.failure is not None
    assert update.failure.fault is Fault.GONE
    assert "an hour" in update.failure.message


@pytest.mark.parametrize("word", ["canceled", "aborted"])
def test_a_prediction_that_was_stopped_is_cancelled(word: str) -> None:
    update = looked(status=word, output=None)
    assert update.failure is not None
    assert update.failure.fault is Fault.GONE


@pytest.mark.parametrize("error", [None, "", {"a": 1}, 7])
def test_an_error_that_is_not_text_still_fails(error: object) -> None:
    update = looked(status="failed", error=error)
    assert update.failure is not None
    assert update.failure.fault is Fault.UNKNOWN


def test_a_limit_says_in_words_when_it_ends() -> None:
    words = {"detail": "Request was throttled. Your rate limit resets in ~30s."}
    assert explained(429, words).retry_after == 30
    assert explained(429, words, **{"retry-after": "7"}).retry_after == 7
    assert explained(429, {"detail": "Slow down."}).retry_after is None
    assert explained(429, {"detail": "It resets in ~99999s"}).retry_after is None


def test_a_refused_input_is_told_in_the_vendors_words() -> None:
    failure = explained(422, {"title": "Input validation failed", "detail": "- input: no prompt\n"})
    assert failure.fault is Fault.REFUSED
    assert failure.message == "Replicate answered HTTP 422: - input: no prompt"


def test_a_version_is_asked_for_by_its_hash() -> None:
    call = submitted(upstream="someone/model:abc")
    assert call.path == "/v1/predictions"
    assert call.json["version"] == "abc"
    call = submitted(upstream="someone/model")
    assert call.path == "/v1/models/someone/model/predictions"
    assert "version" not in call.json


def test_every_model_of_the_catalogue_has_an_input_of_its_own() -> None:
    upstreams = {
        route.upstream
        for model in Catalog.load(Settings()).models()
        for route in model.routes.values()
        if route.provider == "replicate"
    }
    assert upstreams <= set(INPUTS)


def test_only_the_first_and_the_last_change_are_called_back() -> None:
    call = submitted(callback_url="https://longtake.example.com/callbacks/replicate/m1")
    assert call.json["webhook_events_filter"] == ["start", "completed"]
    assert not {"webhook", "webhook_events_filter"} & set(submitted().json)


def signed(body: bytes) -> dict[str, str]:
    content = b"msg_1.%d.%s" % (int(NOW), body)
    digest = hmac.digest(b"k" * 24, content, hashlib.sha256)
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(NOW)),
        "Webhook-Signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_a_callback_is_the_prediction_and_is_signed() -> None:
    replicate, body = Replicate(), b'{"id": "p1", "status": "starting"}'
    assert replicate.callback_operation(body) == "p1"
    assert replicate.callback_is_genuine(signed(body), body, secret=SECRET, now=NOW)
    assert not replicate.callback_is_genuine(signed(b"{}"), body, secret=SECRET, now=NOW)
    assert not replicate.callback_is_genuine({}, body, secret=SECRET, now=NOW)
    assert replicate.callback_is_genuine({}, body, secret=None, now=NOW)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"id": ".."}'])
def test_a_callback_of_a_strangers_names_nothing(body: bytes) -> None:
    assert Replicate().callback_operation(body) is None
