"""What is particular to fal: finished is not succeeded, and a request lives below its app."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from models.failure import Fault
from models.scene import Scene
from providers import failures
from providers.answers import Undocumented
from providers.base import Ask, Call, Flow, Phase, ProviderError, Update
from providers.vendors.fal.fal import PIKA, Fal
from transport.base import Response

LINK = "https://v3.fal.media/files/a/b.mp4"
ID = "024ca5b1-45d3-4afd-883e-ad3abe2a1c4d"
PLACE = f"fal-ai/pika/requests/{ID}"
COMPLETED: dict[str, Any] = {"status": "COMPLETED", "logs": None, "metrics": {}}


def response(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status=status, headers=headers or {}, content=content)


def answered(flow: Flow[Any], *responses: Response) -> tuple[list[Call], Any]:
    """The flow's calls, and what it makes of the answers."""
    calls = [next(flow), *(flow.send(each) for each in responses[:-1])]
    with pytest.raises(StopIteration) as done:
        flow.send(responses[-1])
    return calls, done.value.value


def ended(*responses: Response) -> Update:
    """What comes of a request whose status is COMPLETED, and then of its result."""
    _, updates = answered(Fal().poll([PLACE]), *responses)
    update: Update = updates[PLACE]
    return update


def result(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Update:
    return ended(response(COMPLETED), response(body, status=status, headers=headers))


def error(kind: str) -> dict[str, Any]:
    return {"detail": [{"loc": ["body", "prompt"], "msg": "It is so.", "type": kind}]}


def test_a_completed_request_is_asked_for_its_result() -> None:
    calls, updates = answered(
        Fal().poll([PLACE]), response(COMPLETED), response({"video": {"url": LINK}})
    )

    assert [call.target for call in calls] == [f"/{PLACE}/status?logs=false", f"/{PLACE}"]
    assert updates[PLACE].phase is Phase.SUCCEEDED
    assert [video.url for video in updates[PLACE].videos] == [LINK]


@pytest.mark.parametrize(
    ("status", "kind", "fault"),
    [
        (422, "content_policy_violation", Fault.MODERATED),
        (422, "image_too_small", Fault.REFUSED),
        (422, "string_type", Fault.REFUSED),  # pydantic's own types are documented nowhere
        (400, "downstream_service_error", Fault.TRANSIENT),
        (500, "internal_server_error", Fault.TRANSIENT),
        (504, "generation_timeout", Fault.TRANSIENT),
        (500, "brand_new_type", Fault.TRANSIENT),
    ],
)
def test_a_result_that_is_an_error_is_a_failure(status: int, kind: str, fault: Fault) -> None:
    # Given a request that is COMPLETED, without a word of failure
    # When its result is the model's own error
    update = result(error(kind), status=status)
    # Then it failed, for that reason
    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert (update.failure.fault, update.failure.code) == (fault, failures.CODES[fault])
    assert update.failure.message == f"fal could not make the video ({kind}): It is so."


def test_a_result_in_plain_words_is_judged_by_its_status() -> None:
    update = result({"detail": "wrong input"}, status=422)
    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert update.failure.fault is Fault.REFUSED


def test_a_model_that_says_it_would_fail_again_is_believed() -> None:
    update = result(
        error("downstream_service_error"), status=400, headers={"x-fal-retryable": "false"}
    )
    assert update.failure is not None
    assert update.failure.fault is Fault.REFUSED


def test_the_type_of_an_error_may_be_in_a_header() -> None:
    headers = {"x-fal-error-type": "runner_disconnected"}
    update = result(b"<html>", status=503, headers=headers)
    assert update.failure is not None
    assert update.failure.fault is Fault.TRANSIENT


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"<html>nginx</html>", b"", b"[]", b'{"detail": "busy"}'])
def test_an_ingress_that_is_down_is_nobodys_verdict(status: int, body: bytes) -> None:
    """A video that was paid for must not be lost to one bad moment between the two questions."""
    flow = Fal().poll([PLACE])
    next(flow)
    call = flow.send(response(COMPLETED))
    assert status in call.accept
    with pytest.raises(ProviderError) as caught:
        flow.send(response(body, status=status))
    assert caught.value.failure.fault is Fault.TRANSIENT


@pytest.mark.parametrize("status", [401, 403, 408, 429])
def test_an_answer_that_concerns_us_alone_is_not_the_models(status: int) -> None:
    flow = Fal().poll([PLACE])
    next(flow)
    assert status not in flow.send(response(COMPLETED)).accept


def test_a_result_that_is_not_kept_any_more_is_missing() -> None:
    _, updates = answered(Fal().poll([PLACE]), response(COMPLETED), response({}, status=404))
    assert updates == {}


def test_a_status_with_an_error_needs_no_result() -> None:
    calls, updates = answered(
        Fal().poll([PLACE]),
        response(COMPLETED | {"error": "Gone", "error_type": "runner_disconnected"}),
    )
    assert len(calls) == 1
    assert updates[PLACE].phase is Phase.FAILED


@pytest.mark.parametrize(
    "answers",
    [
        [response(COMPLETED | {"error": "x", "error_type": "client_cancelled"})],
        [
            response(COMPLETED),
            response({"detail": "x", "error_type": "client_cancelled"}, status=499),
        ],
    ],
    ids=["told by the status", "told by the result"],
)
def test_a_request_that_somebody_cancelled_is_cancelled(answers: list[Response]) -> None:
    assert ended(*answers).phase is Phase.CANCELLED


@pytest.mark.parametrize("status", [202, 400])
def test_a_cancel_that_comes_too_late_is_no_error(status: int) -> None:
    calls, _ = answered(Fal().cancel(PLACE), response({"status": "ANY"}, status=status))
    assert (calls[0].method, calls[0].path) == ("PUT", f"/{PLACE}/cancel")
    assert status == 202 or status in calls[0].accept


@pytest.mark.parametrize(
    ("address", "operation"),
    [
        (f"https://queue.fal.run/{PLACE}", PLACE),
        (f"http://127.0.0.1:81/fal/{PLACE}", PLACE),
        (
            f"https://queue.fal.run/workflows/o/flow/requests/{ID}",
            f"workflows/o/flow/requests/{ID}",
        ),
        (f"https://queue.fal.run/o/flux.1-dev/requests/{ID}", f"o/flux.1-dev/requests/{ID}"),
    ],
)
def test_an_operation_is_the_place_that_fal_gives(address: str, operation: str) -> None:
    body = {"request_id": ID, "response_url": address}
    _, accepted = answered(Fal().submit(ask()), response(body))
    assert accepted.operation_id == operation


@pytest.mark.parametrize(
    "address",
    [
        f"https://queue.fal.run/requests/{ID}",
        f"https://queue.fal.run/o/../requests/{ID}",
        "https://queue.fal.run/fal-ai/pika/requests/another",
        f"https://queue.fal.run/{PLACE}/status",
        "nonsense",
    ],
)
def test_an_address_that_is_not_the_requests_own_is_undocumented(address: str) -> None:
    flow = Fal().submit(ask())
    next(flow)
    with pytest.raises(Undocumented):
        flow.send(response({"request_id": ID, "response_url": address}))


def test_no_money_is_not_a_wrong_key() -> None:
    locked = "User is locked. Reason: Exhausted balance. Top up your balance."
    assert Fal().explain(response({"detail": locked}, status=403)).fault is Fault.QUOTA
    assert Fal().explain(response({"detail": "No."}, status=403)).fault is Fault.AUTH


@pytest.mark.parametrize(
    ("upstream", "app"),
    [
        ("fal-ai/pika/v2.2", "fal-ai/pika"),
        ("fal-ai/kling-video", "fal-ai/kling-video"),
        ("workflows/ada/portraits/deep", "workflows/ada/portraits"),
    ],
)
def test_a_callback_names_a_request_and_the_attempt_knows_its_app(upstream: str, app: str) -> None:
    body = json.dumps({"request_id": ID, "gateway_request_id": ID, "status": "OK", "payload": {}})
    told = Fal().callback_operation(body.encode())
    assert told == ID
    operation = Fal().operation_told(told, upstream=upstream)
    assert operation == f"{app}/requests/{ID}"
    # The place is one that our own submit would have given.
    assert next(Fal().cancel(operation)).path == f"/{operation}/cancel"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"request_id": 7}'),
        *(b'{"request_id": "../../x"}', b'{"request_id": "a b"}', b'{"request_id": ""}'),
    ],
)
def test_a_callback_of_a_strangers_names_nothing(body: bytes) -> None:
    assert Fal().callback_operation(body) is None


def ask() -> Ask:
    return Ask(
        attempt_id="a1",
        marker="m1",
        upstream=PIKA,
        scene=Scene(prompt="a cat"),
        duration_seconds=5,
        resolution="720p",
        aspect_ratio="16:9",
        width=1280,
        height=720,
    )
