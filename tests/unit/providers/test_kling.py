"""What is particular to Kling: codes that decide, tokens, batches, and our own id found again."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from models.failure import Fault
from models.scene import Scene
from providers.answers import Undocumented
from providers.base import Account, Ask, Call, Flow, Found, Phase, ProviderError, Update
from providers.vendors.kling.kling import Kling
from providers.vendors.kling.kling_legacy import KlingLegacy, token_of
from transport.base import Response

LINK = "https://cdn.example.com/v.mp4?sig=a%2Bb"
ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="kling-3.0",
    scene=Scene(prompt="a cat"),
    duration_seconds=5,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
)
#: RFC 7518 asks for 32 bytes, and PyJWT warns of fewer.
SECRET = "the-secret-key-of-an-account-0123"
#: kling.ai/document-api/api/get-started/error-codes.
ERROR_CODES = [
    *((401, code, Fault.AUTH) for code in range(1000, 1005)),
    *((429, code, Fault.QUOTA) for code in (1100, 1101, 1102)),
    (403, 1103, Fault.AUTH),
    (400, 1200, Fault.REFUSED),
    (400, 1201, Fault.REFUSED),
    (404, 1202, Fault.REFUSED),
    (404, 1203, Fault.GONE),
    (400, 1300, Fault.MODERATED),
    (400, 1301, Fault.MODERATED),
    (429, 1302, Fault.RATE),
    (429, 1303, Fault.RATE),
    (429, 1304, Fault.AUTH),
    (500, 5000, Fault.TRANSIENT),
    (503, 5001, Fault.TRANSIENT),
    (504, 5002, Fault.TRANSIENT),
]


def response(body: object, status: int = 200) -> Response:
    return Response(status=status, headers={}, content=json.dumps(body).encode())


def answered(flow: Flow[Any], body: object, *, status: int = 200) -> tuple[Call, Any]:
    """The flow's only call, and what it makes of the answer."""
    call = next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(response(body, status))
    return call, done.value.value


def task(task_id: str, **changes: object) -> dict[str, object]:
    return {"id": task_id, "status": "processing", "external_id": ""} | changes


def polled(*tasks: dict[str, object], ids: list[str]) -> dict[str, Update]:
    updates: dict[str, Update] = answered(Kling().poll(ids), {"code": 0, "data": list(tasks)})[1]
    return updates


def found(tasks: list[dict[str, object]]) -> Found:
    result: Found = answered(Kling().look_up(ASK), {"code": 0, "data": tasks})[1]
    return result


@pytest.mark.parametrize("provider", [Kling(), KlingLegacy()], ids=lambda one: one.name)
@pytest.mark.parametrize(("status", "code", "fault"), ERROR_CODES)
def test_the_code_decides_and_not_the_status(
    provider: Kling, status: int, code: int, fault: Fault
) -> None:
    body = {"code": code, "message": "no luck", "request_id": "r"}
    failure = provider.explain(response(body, status))
    assert failure.fault is fault
    assert failure.message == f"Kling answered HTTP {status} ({code}): no luck"


def test_a_429_that_will_not_pass_with_time_is_never_tried_again() -> None:
    for code in (1100, 1101, 1102, 1304):
        failure = Kling().explain(response({"code": code, "message": "m"}, 429))
        assert not failure.fault.may_be_tried_again
    for code in (1302, 1303):
        assert Kling().explain(response({"code": code}, 429)).fault.may_be_tried_again


@pytest.mark.parametrize("body", [{"code": 9999}, {"code": "1100"}, {"code": True}, [], None])
def test_without_a_known_code_the_status_decides(body: object) -> None:
    assert Kling().explain(response(body, 429)).fault is Fault.RATE
    assert Kling().explain(response(body, 500)).fault is Fault.TRANSIENT


@pytest.mark.parametrize("code", [1303, None, "0", False])
def test_a_2xx_with_another_code_than_0_proves_nothing(code: object) -> None:
    for flow in (Kling().submit(ASK), Kling().look_up(ASK), KlingLegacy().submit(ASK)):
        next(flow)
        with pytest.raises(Undocumented, match="code"):
            flow.send(response({"code": code, "data": {"id": "1", "task_id": "1"}}))


def test_one_question_brings_several_updates() -> None:
    done = task("2", status="succeeded", outputs=[{"type": "video", "url": LINK}])
    updates = polled(task("1"), done, task("9"), ids=["1", "2", "3"])
    assert {id_: update.phase for id_, update in updates.items()} == {
        "1": Phase.RUNNING,
        "2": Phase.SUCCEEDED,
    }


def test_a_404_for_several_does_not_lose_them_all() -> None:
    assert answered(Kling().poll(["1"]), {"code": 1203}, status=404)[1] == {}
    flow = Kling().poll(["1", "2"])
    next(flow)
    with pytest.raises(Undocumented, match="does not identify"):
        flow.send(response({"code": 1203}, 404))


def test_only_videos_are_taken_from_the_outputs() -> None:
    outputs = [
        {"type": "image", "url": f"{LINK}.png"},
        {"type": "video", "url": LINK, "watermark_url": f"{LINK}&watermark"},
    ]
    update = polled(task("1", status="succeeded", outputs=outputs), ids=["1"])["1"]
    assert [video.url for video in update.videos] == [LINK]


@pytest.mark.parametrize(
    ("billing", "micros"),
    [
        (None, None),
        ([], None),
        ([{"charge_type": "cash", "amount": "0.42", "currency": "USD"}], 420_000),
        ([{"amount": "0.1", "currency": "USD"}, {"amount": "0.2", "currency": "USD"}], 300_000),
        ([{"charge_type": "unit", "amount": "3", "package_type": "video"}], None),
        ([{"charge_type": "cash", "amount": "3", "currency": "CNY"}], None),
    ],
)
def test_what_was_taken_in_dollars_is_the_cost(billing: object, micros: int | None) -> None:
    done = task("1", status="succeeded", outputs=[{"type": "video", "url": LINK}], billing=billing)
    assert polled(done, ids=["1"])["1"].cost_micros == micros
    assert polled(task("1", billing=billing), ids=["1"])["1"].cost_micros is None


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "a lot", "", 7])
def test_an_amount_that_is_none_is_not_read_as_one(amount: object) -> None:
    billing = [{"amount": amount, "currency": "USD"}]
    with pytest.raises((ValueError, ArithmeticError)):
        polled(task("1", status="failed", billing=billing), ids=["1"])


def test_a_look_up_adopts_what_echoes_our_id() -> None:
    assert found([task("7", external_id="m1")]) == Found(operation_id="7")
    assert found([]) == Found(operation_id=None)


def test_a_look_up_adopts_nothing_else_and_then_proves_nothing() -> None:
    other = task("8", external_id="m2")
    assert found([other]) == Found(operation_id=None, look_alikes=("8",), is_proof=False)
    both = found([other, task("7", external_id="m1")])
    assert (both.operation_id, both.look_alikes) == ("7", ("8",))


@pytest.mark.parametrize("provider", [Kling(), KlingLegacy()], ids=lambda one: one.name)
def test_only_klings_own_404_proves_absence(provider: Kling) -> None:
    # Given the vendor's answer, then it is proof
    absent = answered(provider.look_up(ASK), {"code": 1203, "message": "m"}, status=404)[1]
    assert absent == Found(operation_id=None, is_proof=True)
    # Given a proxy's, then it is an error
    for body in ({"error": "not found"}, {"code": 1202}, "nothing here"):
        flow = provider.look_up(ASK)
        next(flow)
        with pytest.raises(ProviderError):
            flow.send(response(body, 404))


def test_the_older_look_up_compares_our_id_too() -> None:
    def looked(name: str) -> object:
        body = {"code": 0, "data": {"task_id": "7", "task_info": {"external_task_id": name}}}
        return answered(KlingLegacy().look_up(ASK), body)[1]

    assert looked("m1") == Found(operation_id="text2video/7")
    assert looked("m2") == Found(operation_id=None, look_alikes=("text2video/7",), is_proof=False)


def test_an_older_task_is_asked_for_where_it_was_made() -> None:
    picture = replace(
        ASK,
        upstream="kling-v2-6",
        scene=Scene(prompt=ASK.scene.prompt, image="https://pictures.example.com/a.png"),
    )
    call, accepted = answered(KlingLegacy().submit(picture), {"code": 0, "data": {"task_id": "7"}})
    assert call.path == "/v1/videos/image2video"
    assert accepted.operation_id == "image2video/7"
    assert next(KlingLegacy().poll([accepted.operation_id])).path == "/v1/videos/image2video/7"


def test_a_token_is_made_as_the_documents_make_it() -> None:
    # When
    token = token_of("the-access-key", SECRET, now=1_800_000_000.9)
    head, claims, signature = token.split(".")

    # Then
    def decoded(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    assert json.loads(decoded(head)) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(decoded(claims)) == {
        "iss": "the-access-key",
        "exp": 1_800_001_800,
        "nbf": 1_799_999_995,
    }
    expected = hmac.new(SECRET.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert decoded(signature) == expected
    assert "=" not in token


def test_each_request_has_a_token_of_its_own_time_and_an_api_key_goes_before_it() -> None:
    def authorization(now: float, **keys: str) -> str:
        account = Account(name="a", provider="kling_legacy", base_url="", credentials=keys)
        return KlingLegacy().authorize(account, now=now)["authorization"]

    pair = {"KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY": SECRET}
    assert authorization(0.0, **pair) != authorization(1.0, **pair)
    assert authorization(0.0, **pair) == f"Bearer {token_of('a', SECRET, now=0.0)}"
    assert authorization(0.0, KLING_API_KEY="k", **pair) == "Bearer k"
