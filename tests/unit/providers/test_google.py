"""What is particular to Google: safety filters that look like success, bytes inline, errors."""

import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from catalog.models import Catalog
from catalog.resolve import resolve
from models.failure import Failure, Fault
from models.request import VideoRequest
from models.scene import Scene
from providers.answers import Undocumented
from providers.base import Account, Ask, Call, Flow, Phase, ProviderError, Update, Video
from providers.exchange import request_for
from providers.registry import PROVIDERS
from providers.vendors.google.gemini import Gemini
from providers.vendors.google.gemini_veo import GeminiVeo
from providers.vendors.google.veo import Veo
from settings import Settings
from transport.base import Response

NAME = "projects/p/locations/l/publishers/google/models/m/operations/1"
KEY = {"GEMINI_API_KEY": "AIza-test"}
ASK = Ask(
    attempt_id="a",
    marker="m",
    upstream="m",
    scene=Scene(prompt="a cat"),
    duration_seconds=8,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
)


def answered(flow: Flow[Any], body: object, *, status: int = 200) -> tuple[Call, Any]:
    """The flow's only call, and what it makes of the answer."""
    call = next(flow)
    content = json.dumps(body).encode()
    with pytest.raises(StopIteration) as done:
        flow.send(Response(status=status, headers={}, content=content))
    return call, done.value.value


def fetched(response: dict[str, Any]) -> Update:
    """What a finished operation of Vertex AI comes to."""
    body = {"name": NAME, "done": True, "response": response}
    _, updates = answered(Veo().poll([NAME]), body)
    update: Update = updates[NAME]
    return update


def interaction(**fields: object) -> Update:
    _, updates = answered(Gemini().poll(["i"]), {"id": "i", **fields})
    update: Update = updates["i"]
    return update


def said(*contents: dict[str, str]) -> list[dict[str, Any]]:
    return [{"type": "model_output", "content": list(contents)}]


def inline(content: bytes) -> dict[str, str]:
    return {"bytesBase64Encoded": b64encode(content).decode(), "mimeType": "video/mp4"}


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (Veo(), "models/m/operations/1"),
        (Veo(), f"{NAME}/more"),
        (GeminiVeo(), NAME),
        (GeminiVeo(), "models/m"),
    ],
)
def test_an_operation_that_could_not_be_asked_about_is_not_accepted(
    provider: Veo | GeminiVeo, name: str
) -> None:
    flow = provider.submit(ASK)
    next(flow)
    content = json.dumps({"name": name}).encode()
    with pytest.raises(Undocumented, match="not an operation name"):
        flow.send(Response(status=200, headers={}, content=content))


def test_veos_videos_are_the_bytes_and_can_be_had_again() -> None:
    update = fetched({"videos": [inline(b"one"), inline(b"two")]})
    assert update.phase is Phase.SUCCEEDED
    assert update.videos == (Video(content=b"one"), Video(content=b"two"))
    assert not any(video.only_here for video in update.videos)


def test_a_safety_filter_that_leaves_no_video_is_a_moderated_failure_without_charge() -> None:
    # Given an operation that is done without an error, and without a video
    update = fetched(
        {"raiMediaFilteredCount": 2, "raiMediaFilteredReasons": ["Violence.", "Hate."]}
    )
    # Then it failed by moderation, in the filters' words, and cost nothing
    assert update.phase is Phase.FAILED
    assert update.cost_micros == 0
    assert update.failure is not None
    assert (update.failure.fault, update.failure.code) == (Fault.MODERATED, "content_policy")
    assert "Violence. Hate." in update.failure.message


@pytest.mark.parametrize("response", [{}, {"@type": "t"}, {"@type": "t", "videos": []}])
def test_fewer_videos_than_asked_down_to_none_is_the_filters_work(
    response: dict[str, Any],
) -> None:
    failure = fetched(response).failure
    assert failure is not None
    assert failure.fault is Fault.MODERATED


def test_what_a_filter_let_through_is_a_success() -> None:
    update = fetched({"videos": [inline(b"one")], "raiMediaFilteredCount": 3})
    assert (update.phase, len(update.videos)) == (Phase.SUCCEEDED, 1)


@pytest.mark.parametrize(
    "response",
    [
        {"clips": [inline(b"one")]},
        {"videos": [{"gcsUri": "gs://bucket/v.mp4"}]},
        {"videos": [{"bytesBase64Encoded": "no base64!"}]},
        {"videos": {"0": inline(b"one")}},
        {"raiMediaFilteredCount": "two"},
    ],
)
def test_a_result_of_another_shape_is_never_taken_for_a_refusal(response: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not|is missing|without"):
        fetched(response)


@pytest.mark.parametrize("done", ["true", 1, 0, "UPSCALING"])
def test_an_operation_is_done_or_it_is_not(done: object) -> None:
    with pytest.raises(ValueError, match="done"):
        answered(Veo().poll([NAME]), {"name": NAME, "done": done})


def test_a_gateways_inline_video_is_taken_as_it_comes() -> None:
    name = "models/m/operations/1"
    sample = {"video": {"encodedVideo": b64encode(b"MP4").decode(), "encoding": "video/mp4"}}
    response = {"generateVideoResponse": {"generatedSamples": [sample]}}
    body = {"name": name, "done": True, "response": response}
    _, updates = answered(GeminiVeo().poll([name]), body)
    assert updates[name].videos == (Video(content=b"MP4"),)


def test_a_poll_of_veo_may_be_as_large_as_four_videos() -> None:
    call = next(Veo().poll([NAME]))
    assert call.max_bytes >= 4 * 100 * 2**20
    assert call.timeout > 60


def test_a_refusal_in_words_is_moderation_although_it_reads_completed() -> None:
    update = interaction(status="completed", steps=said({"type": "text", "text": "I can't."}))
    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert update.failure.fault is Fault.MODERATED
    assert update.failure.message.endswith("I can't.")


def test_an_error_of_the_step_says_why_there_is_no_video() -> None:
    step = {"type": "model_output", "error": {"code": 14, "message": "Try again later."}}
    update = interaction(status="completed", steps=[step])
    assert update.failure is not None
    assert update.failure.fault is Fault.TRANSIENT


def test_an_interaction_that_completed_with_nothing_at_all_is_not_understood() -> None:
    with pytest.raises(ValueError, match="no video"):
        interaction(status="completed", steps=[{"type": "thought"}])


def test_an_interactions_video_may_come_inline_although_a_link_was_asked_for() -> None:
    video = {"type": "video", "data": b64encode(b"MP4").decode(), "mime_type": "video/mp4"}
    assert interaction(status="completed", steps=said(video)).videos == (Video(content=b"MP4"),)


def refused(body: object) -> Response:
    return Response(status=400, headers={}, content=json.dumps(body).encode())


def test_an_unknown_interaction_is_a_400_with_these_words_and_no_other() -> None:
    error = {"error": {"code": 400, "message": "Invalid interaction name: i"}}
    _, updates = answered(Gemini().poll(["i"]), error, status=400)
    assert updates == {}
    flow = Gemini().poll(["i"])
    next(flow)
    with pytest.raises(ProviderError) as caught:
        flow.send(refused({"error": {"message": "Request contains an invalid argument."}}))
    assert caught.value.failure.fault is Fault.REFUSED


def failure_of(error: dict[str, Any], *, status: int = 400) -> Failure:
    content = json.dumps({"error": error}).encode()
    return Gemini().explain(Response(status=status, headers={}, content=content))


def test_a_wrong_key_is_a_400_that_only_its_reason_tells() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"status": "INVALID_ARGUMENT", "message": "API key not valid.", "details": details}
    assert failure_of(error).fault is Fault.AUTH
    assert failure_of(error | {"details": []}).fault is Fault.REFUSED


def test_the_status_word_decides_over_the_http_status() -> None:
    assert failure_of({"status": "FAILED_PRECONDITION"}).fault is Fault.QUOTA
    assert failure_of({"status": "BRAND_NEW"}).fault is Fault.REFUSED
    assert failure_of({"code": "invalid_request"}).fault is Fault.REFUSED


@pytest.mark.parametrize(
    "words",
    [
        "The prompt couldn't be submitted. This prompt contains words that violate our guidelines.",
        "Veo could not generate videos because the input image violates the usage guidelines.",
        "Blocked. Support codes: 15236754",
        "The request violates our content policies.",
        "The response was blocked for safety reasons.",
    ],
)
def test_a_refusal_of_the_safety_system_is_known_by_its_words(words: str) -> None:
    assert failure_of({"status": "INVALID_ARGUMENT", "message": words}).fault is Fault.MODERATED


@pytest.mark.parametrize(
    "words",
    [
        "Unknown name safety_settings.",
        "Requests to this API method are blocked.",
        "See our policies for details.",
    ],
)
def test_words_that_only_sound_like_it_are_not_moderation(words: str) -> None:
    assert failure_of({"status": "INVALID_ARGUMENT", "message": words}).fault is Fault.REFUSED


@pytest.mark.parametrize(
    ("delay", "seconds"), [("17s", 17), ("3.5s", 3.5), ("x", None), ("-1s", None), (7, None)]
)
def test_a_wait_may_be_asked_for_in_the_body(delay: object, seconds: float | None) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    failure = failure_of({"status": "RESOURCE_EXHAUSTED", "details": details}, status=429)
    assert (failure.fault, failure.retry_after) == (Fault.RATE, seconds)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"error": "no"}', b'[{"error": null}]'])
def test_an_error_of_a_gateways_own_is_known_by_its_status(content: bytes) -> None:
    failure = Veo().explain(Response(status=503, headers={}, content=content))
    assert failure.fault is Fault.TRANSIENT


def test_an_error_in_a_list_is_read_all_the_same() -> None:
    body = [{"error": {"status": "RESOURCE_EXHAUSTED", "message": "Slow down."}}]
    failure = Gemini().explain(Response(status=429, headers={}, content=json.dumps(body).encode()))
    assert (failure.fault, "Slow down." in failure.message) == (Fault.RATE, True)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"type": "interaction.completed", "version": "v1", "data": {"id": "i1"}}', "i1"),
        (b'{"type": "interaction.completed", "data": {}}', None),
        (b'{"id": "i1"}', None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_an_event_names_its_interaction_and_whatever_a_stranger_sends_names_none(
    body: bytes, found: str | None
) -> None:
    assert Gemini().callback_operation(body) == found


@pytest.mark.parametrize(
    ("link", "sent"),
    [
        (
            "https://generativelanguage.googleapis.com/v1/files/a:download?alt=media",
            {"accept", "x-goog-api-key"},
        ),
        ("https://storage.googleapis.com/v.mp4?X-Goog-Signature=a%2Bb", {"accept"}),
        ("https://generativelanguage.googleapis.com.example.com/v1/files/a", {"accept"}),
    ],
)
def test_the_key_goes_to_the_apis_own_files_and_nowhere_else(link: str, sent: set[str]) -> None:
    gemini = Gemini()
    account = gemini.account(KEY, base_url=None)
    call = gemini.fetch(Video(url=link))
    request = request_for(call, provider=gemini, account=account, now=0.0)
    assert request.url == link
    assert set(request.headers) == sent


def test_a_link_to_a_picture_is_carried_since_it_is_fetched_before_it_is_sent() -> None:
    catalog = Catalog.load(Settings())
    accounts = {"veo": account("veo"), "gemini": account("gemini")}
    for model in ("veo-3", "gemini-omni"):
        for picture in ("https://pictures.example.com/a.png", "data:image/png;base64,iVBORw0KGgo="):
            plan = resolve(request(model, picture), catalog, accounts)
            assert plan.scene.image == picture
            assert PROVIDERS[plan.provider].capabilities.inline_pictures


def test_a_link_that_comes_through_nevertheless_is_not_sent_as_a_picture() -> None:
    ask = replace(
        ASK, scene=Scene(prompt=ASK.scene.prompt, image="https://pictures.example.com/a.png")
    )
    for provider in (Veo(), GeminiVeo(), Gemini()):
        with pytest.raises(ValueError, match="data URIs only"):
            next(provider.submit(ask))


def account(name: str) -> Account:
    return Account(name=name, provider=name, base_url="http://127.0.0.1:9", credentials={})


def request(model: str, image: str) -> VideoRequest:
    return VideoRequest.from_json({"prompt": "a cat", "model": model, "image": image})
