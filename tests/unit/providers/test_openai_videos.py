"""What is particular to the OpenAI Videos API: forms, progress, a gateway's address, the key."""

import json
from dataclasses import replace
from typing import Any

import pytest

from catalog.models import Catalog
from models.failure import Fault
from models.scene import Scene
from providers.base import Account, Ask, Call, Phase, Update, Video
from providers.exchange import request_for
from providers.registry import accounts, missing_variables
from providers.vendors.gateways.openai_videos import OpenaiVideos
from settings import Settings, load
from transport.base import Response

ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="sora-2",
    scene=Scene(prompt="a cät"),
    duration_seconds=8,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
)
SOMEWHERE = {"LONGTAKE_DATA_DIR": "/nonexistent", "OPENAI_API_KEY": "sk-1"}


def submitted(ask: Ask) -> Call:
    return next(OpenaiVideos().submit(ask))


def polled(video: dict[str, Any], headers: dict[str, str] | None = None) -> Update:
    flow = OpenaiVideos().poll(["video_1"])
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(Response(status=200, headers=headers or {}, content=json.dumps(video).encode()))
    update: Update = done.value.value["video_1"]
    return update


def test_every_field_of_the_form_is_text_and_none_is_a_file_without_a_picture() -> None:
    parts = submitted(ASK).form
    assert {part.name: part.content.decode() for part in parts} == {
        "prompt": "a cät",
        "model": "sora-2",
        "seconds": "8",
        "size": "1280x720",
    }
    assert {part.filename for part in parts} == {None}


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_data_uri_leaves_as_a_file_of_its_kind(kind: str) -> None:
    part = submitted(
        replace(
            ASK, scene=Scene(prompt=ASK.scene.prompt, image=f"data:image/{kind};base64,aGVsbG8=")
        )
    ).form[-1]
    assert (part.name, part.content) == ("input_reference", b"hello")
    assert (part.filename, part.content_type) == (f"image.{kind}", f"image/{kind}")


def test_there_is_an_account_only_where_a_gateway_is_named() -> None:
    assert accounts(load(SOMEWHERE)) == {}
    gateway = {"OPENAI_BASE_URL": "https://gateway.example.com/v1/"}
    found = accounts(load(SOMEWHERE | gateway))
    assert found["openai_videos"].base_url == "https://gateway.example.com/v1"
    assert missing_variables("openai_videos") == "OPENAI_API_KEY and OPENAI_BASE_URL"


def test_its_models_are_made_by_it_alone() -> None:
    catalog = Catalog.load(Settings())
    for name in ("sora-2", "sora-2-pro", "sora"):
        routes = catalog.find(name).routes.values()
        assert {route.provider for route in routes} == {"openai_videos"}


@pytest.mark.parametrize(
    ("status", "progress", "told"),
    [
        ("queued", 0, None),
        ("in_progress", 45, 0.45),
        ("in_progress", 250, 1.0),
        ("in_progress", None, None),
        ("completed", 100, None),
    ],
)
def test_progress_is_a_percentage_of_what_runs(
    status: str, progress: int | None, told: float | None
) -> None:
    assert polled({"status": status, "progress": progress}).progress == told


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("10000", 10.0), ("250", 0.25), ("9999999", 60.0), ("soon", None), ("-1", None)],
)
def test_the_gateway_says_when_to_look_again(header: str, seconds: float | None) -> None:
    update = polled({"status": "queued"}, {"openai-poll-after-ms": header})
    assert update.poll_after == seconds


def test_the_file_is_asked_for_at_the_gateway_with_the_key() -> None:
    # Given a finished video, whatever id the gateway calls it by in this answer
    update = polled({"id": "another", "status": "completed"})
    assert update.videos == (Video(url="/videos/video_1/content"),)
    # When its download is dressed for sending
    account = Account(
        name="openai_videos",
        provider="openai_videos",
        base_url="https://gateway.example.com/v1",
        credentials={"OPENAI_API_KEY": "sk-1"},
    )
    call = OpenaiVideos().fetch(update.videos[0])
    request = request_for(call, provider=OpenaiVideos(), account=account, now=0.0)
    # Then it goes home, and the key goes along
    assert request.url == "https://gateway.example.com/v1/videos/video_1/content"
    assert request.headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("status", "code", "words", "fault"),
    [
        (400, "moderation_blocked", "blocked", Fault.MODERATED),
        (400, "content_policy_violation", "no", Fault.MODERATED),
        (400, None, "Your request was rejected by our safety system", Fault.MODERATED),
        (400, "invalid_value", "size", Fault.REFUSED),
        (429, "insufficient_quota", "no money", Fault.QUOTA),
        (400, "billing_hard_limit_reached", "no money", Fault.QUOTA),
        (429, "rate_limit_exceeded", "slow down", Fault.RATE),
        (401, "invalid_api_key", "no", Fault.AUTH),
        (502, None, "bad gateway", Fault.TRANSIENT),
    ],
)
def test_an_errors_code_decides_before_its_words_and_its_status(
    status: int, code: str | None, words: str, fault: Fault
) -> None:
    body = {"error": {"message": words, "type": "t", "param": None, "code": code}}
    content = json.dumps(body).encode()
    failure = OpenaiVideos().explain(Response(status=status, headers={}, content=content))
    assert failure.fault is fault
    assert words in failure.message


def test_a_failure_that_only_speaks_of_moderation_is_one() -> None:
    error = {"code": "failed", "message": "It was stopped by our moderation system."}
    update = polled({"status": "failed", "error": error})
    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert update.failure.fault is Fault.MODERATED
