"""What is particular to the gateways: costs, progress, older answers, gates, words."""

import json
from base64 import b64encode
from dataclasses import replace

import pytest

from models.failure import Fault
from models.scene import Scene
from providers.answers import Undocumented
from providers.base import Accepted, Account, Ask, Phase, Provider, Update
from providers.exchange import request_for
from providers.vendors.gateways.aimlapi import Aimlapi
from providers.vendors.gateways.aimlapi_legacy import AimlapiLegacy
from providers.vendors.gateways.layer import Layer
from providers.vendors.gateways.lunos import Lunos
from providers.vendors.gateways.perf import Perf
from transport.base import Response

LINK = "https://cdn.example.com/v.mp4?sig=a%2Bb"
ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="runway-gen3",
    scene=Scene(prompt="a cat"),
    duration_seconds=5,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
)


def response(body: object, status: int = 200) -> Response:
    return Response(status=status, headers={}, content=json.dumps(body).encode())


def polled(provider: Provider, **fields: object) -> Update:
    flow = provider.poll(["1"])
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(response({"id": "1", **fields}))
    update: Update = done.value.value["1"]
    return update


def answered_by_layer(body: object, status: int = 200) -> Accepted:
    flow = Layer().submit(ASK)
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(response(body, status))
    accepted: Accepted = done.value.value
    return accepted


def update_of(accepted: Accepted) -> Update:
    assert accepted.update is not None
    return accepted.update


def test_perfs_percentage_and_cost_are_told() -> None:
    assert polled(Perf(), status="processing", progress_percent=45).progress == 0.45
    assert polled(Perf(), status="processing", progress_percent=140).progress == 1.0
    assert polled(Perf(), status="processing").progress is None
    done = {"status": "complete", "video_url": LINK}
    assert polled(Perf(), **done, perf={"cost_usd": 0.8}).cost_micros == 800_000
    assert polled(Perf(), **done, perf={}).cost_micros is None
    assert polled(Perf(), **done).cost_micros is None


@pytest.mark.parametrize(
    ("meta", "micros"),
    [
        ({"usage": {"credits_used": 120_000, "usd_spent": 0.07}}, 70_000),
        ({"usage": {"credits_used": 120_000}}, 60_000),
        ({"usage": {}}, None),
        ({"usage": None}, None),
        (None, None),
    ],
)
def test_aimlapis_credits_are_half_millionths_of_a_dollar(meta: object, micros: int | None) -> None:
    update = polled(Aimlapi(), status="completed", video={"url": LINK}, meta=meta)
    assert update.cost_micros == micros


def test_aimlapis_older_answers_list_addresses() -> None:
    update = polled(Aimlapi(), status="completed", video=[LINK, f"{LINK}&n=2"])
    assert [video.url for video in update.videos] == [LINK, f"{LINK}&n=2"]


@pytest.mark.parametrize("given", ["", "/v1", "/v2"])
def test_aimlapis_address_may_be_given_as_either_client_takes_it(given: str) -> None:
    variables = {"AIMLAPI_API_KEY": "k"}
    for provider in (Aimlapi(), AimlapiLegacy()):
        account = provider.account(variables, base_url=f"http://127.0.0.1:81/aimlapi{given}")
        assert account.base_url == "http://127.0.0.1:81/aimlapi"
        assert account.provider == account.name == provider.name


@pytest.mark.parametrize(
    ("upstream", "there", "missing"),
    [
        ("google/veo-3.1-t2v", {"aspect_ratio", "resolution"}, {"last_image_url"}),
        ("google/veo-3.1-reference-to-video", {"resolution"}, {"aspect_ratio"}),
        ("klingai/v2.5-turbo/pro/image-to-video", set(), {"aspect_ratio", "resolution"}),
        ("klingai/v2.5-turbo/pro/text-to-video", {"aspect_ratio"}, {"resolution"}),
        ("runway/gen4_turbo", {"aspect_ratio"}, {"resolution"}),
        ("luma/ray-3.2", {"aspect_ratio", "resolution"}, {"tail_image_url"}),
    ],
)
def test_aimlapi_is_told_only_what_the_models_schema_has(
    upstream: str, there: set[str], missing: set[str]
) -> None:
    body = next(Aimlapi().submit(replace(ASK, upstream=upstream))).json
    assert there <= set(body)
    assert not missing & set(body)


def test_layers_gate_is_the_accounts_and_goes_into_the_submit_only() -> None:
    layer = Layer()
    variables = {"LAYER_API_KEY": "k", "LAYER_GATE_ID": "g"}
    account = layer.account(variables, base_url="http://127.0.0.1:81/layer")
    request = request_for(next(layer.submit(ASK)), provider=layer, account=account, now=0.0)
    assert request.url == "http://127.0.0.1:81/layer/v3/video"
    assert json.loads(request.content or b"")["gateId"] == "g"
    other = Account(name="layer", provider="layer", base_url="https://x", credentials=variables)
    video = update_of(answered_by_layer({"videos": [{"url": LINK}]})).videos[0]
    fetched = request_for(layer.fetch(video), provider=layer, account=other, now=0.0)
    assert (fetched.url, fetched.content) == (LINK, None)


def test_layers_answer_may_have_an_id_and_may_hold_the_bytes() -> None:
    data = b64encode(b"film").decode()
    for given in (data, f"data:video/mp4;base64,{data}"):
        accepted = answered_by_layer({"id": "req_1", "videos": [{"base64": given}]})
        (video,) = update_of(accepted).videos
        assert accepted.operation_id == "req_1"
        assert (video.content, video.only_here, video.url) == (b"film", True, None)
    assert answered_by_layer({"videos": [{"url": LINK}]}).operation_id == "layer-m1"


@pytest.mark.parametrize("videos", [[{"base64": "not base64!"}], [{"url": "ftp://x"}], [{}]])
def test_a_video_of_layers_that_can_not_be_had_is_no_success(videos: object) -> None:
    flow = Layer().submit(ASK)
    next(flow)
    with pytest.raises(Undocumented):
        flow.send(response({"videos": videos}))


def test_only_layers_own_500_says_that_the_job_has_ended() -> None:
    accepted = answered_by_layer({"error": "internal_error", "message": "no such model"}, 500)
    update = update_of(accepted)
    assert (accepted.operation_id, update.phase) == ("layer-m1", Phase.FAILED)
    assert update.failure is not None
    assert update.failure.fault is Fault.UNKNOWN
    assert "no such model" in update.failure.message
    others: list[object] = [{"error": "upstream hiccup"}, {"message": "oops"}, []]
    for body in others:
        flow = Layer().submit(ASK)
        next(flow)
        with pytest.raises(Undocumented):
            flow.send(response(body, 500))


@pytest.mark.parametrize(
    ("provider", "status", "body", "fault"),
    [
        (Perf(), 429, {"error": {"code": "usage_limit_exceeded"}}, Fault.QUOTA),
        (Perf(), 429, {"error": {"code": "rate_limit_exceeded"}}, Fault.RATE),
        (Perf(), 400, {"error": {"code": "brand_new", "type": "x"}}, Fault.REFUSED),
        (Perf(), 400, {"error": {"message": "Content policy violation"}}, Fault.MODERATED),
        (Perf(), 503, b"<html>", Fault.TRANSIENT),
        (Lunos(), 402, {"error": "Insufficient balance"}, Fault.QUOTA),
        (Lunos(), 400, {"error": {"message": "Blocked by safety filters"}}, Fault.MODERATED),
        (Aimlapi(), 403, {"message": "You've run out of credits."}, Fault.QUOTA),
        (Aimlapi(), 429, {"message": "Too Many Requests"}, Fault.RATE),
        (Layer(), 404, {"error": "not_found", "message": "Gate not found"}, Fault.GONE),
        (Layer(), 500, {"error": "internal_error", "message": "safety"}, Fault.TRANSIENT),
    ],
)
def test_an_error_means_what_its_code_its_words_or_its_status_say(
    provider: Provider, status: int, body: object, fault: Fault
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = provider.explain(Response(status=status, headers={}, content=content))
    assert failure.fault is fault
