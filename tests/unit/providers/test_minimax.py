"""What is particular to MiniMax: errors inside HTTP 200, a third question, a cancel too late."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from models.failure import Fault
from models.scene import Scene
from providers.base import Account, Ask, Flow, Phase, Provider, ProviderError, Update
from providers.exchange import converse
from providers.vendors.minimax.minimax import Minimax
from providers.vendors.minimax.minimax_v2 import MinimaxV2
from transport.base import BadAnswer, Request, Response, Stream

ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="MiniMax-Hailuo-2.3",
    scene=Scene(prompt="a lighthouse keeper sings to the storm"),
    duration_seconds=6,
    resolution="768p",
    aspect_ratio="16:9",
    width=1366,
    height=768,
)
ACCOUNT = Account(
    name="minimax",
    provider="minimax",
    base_url="http://127.0.0.1:9",
    credentials={"MINIMAX_API_KEY": "key_0123456789"},
)
LINK = "https://cdn.example.com/v.mp4?sig=a%2Bb"
#: platform.minimax.io/docs/api-reference/errorcode; the last four are mmx's.
CODES = {
    1002: (Fault.RATE, True),
    1004: (Fault.AUTH, True),
    1008: (Fault.QUOTA, True),
    1026: (Fault.MODERATED, True),
    1039: (Fault.RATE, True),
    1042: (Fault.REFUSED, True),
    2013: (Fault.REFUSED, True),
    2045: (Fault.RATE, True),
    2049: (Fault.AUTH, True),
    2056: (Fault.QUOTA, True),
    1000: (Fault.TRANSIENT, False),
    1001: (Fault.TRANSIENT, False),
    1024: (Fault.TRANSIENT, False),
    1027: (Fault.MODERATED, False),
    1033: (Fault.TRANSIENT, False),
    1013: (Fault.TRANSIENT, False),
    1028: (Fault.QUOTA, True),
    1030: (Fault.QUOTA, True),
    2061: (Fault.QUOTA, True),
}


class Answering:
    """A client that gives one answer after the other and keeps the requests."""

    def __init__(self, *bodies: object, status: int = 200) -> None:
        self.bodies = list(bodies)
        self.status = status
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        content = json.dumps(self.bodies.pop(0)).encode()
        return Response(status=self.status, headers={}, content=content)

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        raise NotImplementedError

    async def close(self) -> None:
        """Holds nothing."""


def told(provider: Provider, flow: Flow[Any], client: Answering) -> Any:
    return asyncio.run(
        converse(flow, provider=provider, account=ACCOUNT, client=client, now=1_800_000_000.0)
    )


def polled(*bodies: object) -> tuple[Update, Answering]:
    client = Answering(*bodies)
    updates: Mapping[str, Update] = told(Minimax(), Minimax().poll(["1"]), client)
    return updates["1"], client


def base(code: int, words: str = "no luck") -> dict[str, object]:
    return {"base_resp": {"status_code": code, "status_msg": words}}


def refused(provider: Provider, body: object, *, status: int = 200) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        told(provider, provider.submit(ASK), Answering(body, status=status))
    return caught.value


@pytest.mark.parametrize("provider", [Minimax(), MinimaxV2()], ids=lambda one: one.name)
@pytest.mark.parametrize(("code", "fault", "proves"), [(k, *v) for k, v in CODES.items()])
def test_a_code_inside_http_200_is_an_error_that_may_prove_a_refusal(
    provider: Provider, code: int, fault: Fault, *, proves: bool
) -> None:
    error = refused(provider, {"task_id": "", **base(code)})

    assert error.failure.fault is fault
    assert error.failure.message == f"MiniMax answered HTTP 200 ({code}): no luck"
    assert (error.status in provider.capabilities.refusals) is proves


@pytest.mark.parametrize("provider", [Minimax(), MinimaxV2()], ids=lambda one: one.name)
def test_a_code_that_no_document_has_proves_nothing(provider: Provider) -> None:
    error = refused(provider, base(9999))
    assert (error.failure.fault, error.status) == (Fault.UNKNOWN, 200)


@pytest.mark.parametrize("provider", [Minimax(), MinimaxV2()], ids=lambda one: one.name)
def test_a_refusal_inside_http_200_repeats_neither_prompt_nor_key(provider: Provider) -> None:
    words = f"invalid params: {ASK.scene.prompt} by key_0123456789"
    message = refused(provider, base(2013, words)).failure.message
    assert "invalid params" in message
    assert ASK.scene.prompt not in message
    assert "0123456789" not in message


def test_permanent_errors_are_never_tried_again() -> None:
    for code, (fault, _) in CODES.items():
        again = refused(Minimax(), base(code)).failure.fault.may_be_tried_again
        assert again == (fault in {Fault.RATE, Fault.TRANSIENT})


def test_a_finished_task_takes_a_third_question_for_its_link() -> None:
    for file_id in ("176844028768320", 176844028768320):
        update, client = polled(
            {"task_id": "1", "status": "Success", "file_id": file_id, **base(0)},
            {"file": {"file_id": file_id, "download_url": LINK}, **base(0)},
        )
        assert update.phase is Phase.SUCCEEDED
        assert [video.url for video in update.videos] == [LINK]
        assert client.requests[1].url.endswith("/v1/files/retrieve?file_id=176844028768320")


def test_a_file_that_can_not_be_had_yet_is_no_success_without_a_video() -> None:
    task = {"task_id": "1", "status": "Success", "file_id": "2", **base(0)}
    with pytest.raises(ProviderError) as caught:
        polled(task, base(1002))
    assert caught.value.failure.fault is Fault.RATE
    with pytest.raises(BadAnswer, match="file_id"):
        polled(task | {"file_id": True})
    with pytest.raises(BadAnswer, match="download_url"):
        polled(task, {"file": {}, **base(0)})


@pytest.mark.parametrize("code", [1026, 1027])
@pytest.mark.parametrize("status", [{"status": "Fail"}, {"status": "Success", "file_id": "2"}, {}])
def test_what_a_safety_filter_stopped_is_a_failure_whatever_its_status(
    code: int, status: dict[str, object]
) -> None:
    update, client = polled({"task_id": "1", **status, **base(code)})
    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert update.failure.fault is Fault.MODERATED
    assert len(client.requests) == 1


def test_a_failure_without_a_code_does_not_say_success() -> None:
    update, _ = polled({"task_id": "1", "status": "Fail", **base(0, "success")})
    assert update.failure is not None
    assert update.failure.message == "MiniMax could not make the video"


@pytest.mark.parametrize(("status", "code"), [("Processing", 1002), ("", 2013)])
def test_a_question_that_went_wrong_says_nothing_of_the_task(status: str, code: int) -> None:
    with pytest.raises(ProviderError):
        polled({"task_id": "1", "status": status, **base(code)})


@pytest.mark.parametrize(
    ("status", "kind", "words", "fault"),
    [
        (402, "insufficient_balance_error", "insufficient balance", Fault.QUOTA),
        (422, "unprocessable_entity_error", "sensitive content (1026)", Fault.MODERATED),
        (422, "unprocessable_entity_error", "duration", Fault.REFUSED),
        (400, "bad_request_error", "input new_sensitive", Fault.MODERATED),
        (429, "rate_limit_error", "rate limit", Fault.RATE),
        (500, "server_error", "trouble", Fault.TRANSIENT),
    ],
)
def test_the_newer_endpoints_errors_are_told_by_type_words_and_status(
    status: int, kind: str, words: str, fault: Fault
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": words, "http_code": str(status)}}
    error = refused(MinimaxV2(), body, status=status)
    assert (error.status, error.failure.fault) == (status, fault)
    assert error.failure.message == f"MiniMax answered HTTP {status} ({kind}): {words}"


def test_a_cancel_that_comes_too_late_is_an_error() -> None:
    body = {"error": {"type": "conflict_error", "message": "running"}}
    with pytest.raises(ProviderError):
        told(MinimaxV2(), MinimaxV2().cancel("1"), Answering(body, status=409))


BOTH = pytest.mark.parametrize("provider", [Minimax(), MinimaxV2()], ids=lambda one: one.name)


@BOTH
def test_a_callback_is_asked_for_where_there_is_an_address(provider: Provider) -> None:
    address = "https://longtake.example.com/callbacks/minimax/m1"
    asked = next(provider.submit(replace(ASK, callback_url=address)))
    assert asked.json["callback_url"] == address
    assert "callback_url" not in next(provider.submit(ASK)).json


@BOTH
def test_an_address_of_ours_that_did_not_answer_refuses_for_the_moment(provider: Provider) -> None:
    """The request is in order: nothing was taken, and the next try may do without the address."""
    words = "invalid params, fail to check callback url"
    bodies = {
        "minimax": (base(2013, words), 200),
        "minimax_v2": (_v2_error(f"{words} (2013)"), 400),
    }
    body, status = bodies[provider.name]
    error = refused(provider, body, status=status)
    assert error.failure.fault.may_be_tried_again
    assert error.status in provider.capabilities.refusals
    assert provider.capabilities.callback_challenged


def _v2_error(words: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": "bad_request_error", "message": words}}


@BOTH
@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b'{"challenge": "a\\u00e9b"}', {"challenge": "a\u00e9b"}),
        (b'{"challenge": ""}', {"challenge": ""}),
        (b'{"task_id": "1", "status": "processing"}', None),
        (b'{"challenge": {"a": 1}}', None),
        (b'{"challenge": "%s"}' % (b"a" * 1025), None),
        (b'["challenge"]', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
)
def test_a_challenge_is_echoed_and_nothing_else_is(
    provider: Provider, body: bytes, reply: object
) -> None:
    echoed = provider.callback_reply(body)
    assert (json.loads(echoed) if echoed is not None else None) == reply


@BOTH
@pytest.mark.parametrize(
    ("body", "operation"),
    [
        (b'{"task_id": "1", "status": "processing", "file_id": ""}', "1"),
        (b'{"task": {"id": "2", "status": "running"}}', "2"),
        (b'{"task_id": 1}', None),
        (b'{"task_id": ".."}', None),
        (b'{"task": "2"}', None),
        (b'{"challenge": "c"}', None),
        (b"{", None),
    ],
)
def test_a_callback_names_its_task(provider: Provider, body: bytes, operation: str | None) -> None:
    assert provider.callback_operation(body) == operation
