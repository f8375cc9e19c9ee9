"""What a vendor's answers come to: every documented word and error, and everything that is neither.

A provider without a table here fails the suite.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import pytest
from luma_agents.types import Generation, GenerationFailureCode
from runwayml.types import TaskRetrieveResponse

from models.failure import Fault
from providers.base import (
    Account,
    Ask,
    Flow,
    Phase,
    ProviderError,
    UnknownStatus,
    Update,
)
from providers.exchange import converse
from providers.registry import PROVIDERS
from transport.base import BadAnswer, Client, Request, Response, Stream

T = TypeVar("T")

ID = "17f20503-6c24-4c16-946b-35dbbce2af2f"
LINK = "https://cdn.example.com/v.mp4?sig=a%2Bb&x=%7e"
ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="m",
    prompt="a lighthouse keeper sings to the storm",
    duration_seconds=5,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
)


@dataclass(frozen=True)
class Documented:
    """One vendor's answers, as its documents and SDK have them."""

    #: Every status word that the SDK's types know, and the phase it must come to.
    words: Mapping[str, Phase]
    words_of_sdk: frozenset[str]
    #: The answer to a poll with that word.
    answer: Callable[[str], dict[str, Any]]
    #: Fields without which the answer with that word can't be used.
    needed: Mapping[str, tuple[str, ...]]
    #: Every failure code, or one of each family, and what it must come to.
    faults: Mapping[str | None, Fault]
    failed: Callable[[str | None], dict[str, Any]]
    #: Documented statuses of the paid POST; and those that prove that it was not accepted.
    errors: Mapping[int, Fault]
    refusals: frozenset[int]
    error: Callable[[str], dict[str, Any]]
    accepted: dict[str, Any]


def runway_task(word: str) -> dict[str, Any]:
    task: dict[str, Any] = {"id": ID, "createdAt": "2026-11-21T00:00:00Z", "status": word}
    match word:
        case "SUCCEEDED":
            return task | {"output": [LINK], "cost": {"credits": 60}}
        case "FAILED":
            return task | {"failure": "An error occurred.", "cost": {"credits": 0}}
        case "CANCELLED":
            return task | {"cost": {"credits": 12}}
        case "RUNNING":
            return task | {"progress": 0.25, "estimatedCost": {"credits": 60.0}}
        case _:
            return task | {"estimatedCost": {"credits": 60.0}}


def luma_generation(word: str) -> dict[str, Any]:
    generation: dict[str, Any] = {"id": ID, "model": "ray-3.2", "type": "video", "state": word}
    match word:
        case "completed":
            return generation | {"output": [{"type": "video", "url": LINK}]}
        case "failed":
            reason = {"failure_code": "generation_failed", "failure_reason": "It failed."}
            return generation | reason
        case _:
            return generation | {"failure_code": None, "failure_reason": None, "output": []}


RUNWAY = Documented(
    words={
        "PENDING": Phase.QUEUED,
        "THROTTLED": Phase.QUEUED,
        "RUNNING": Phase.RUNNING,
        "SUCCEEDED": Phase.SUCCEEDED,
        "FAILED": Phase.FAILED,
        "CANCELLED": Phase.CANCELLED,
    },
    words_of_sdk=frozenset(
        get_args(variant.model_fields["status"].annotation)[0]
        for variant in get_args(get_args(TaskRetrieveResponse)[0])
    ),
    answer=runway_task,
    needed={"RUNNING": ("status",), "SUCCEEDED": ("status", "output")},
    faults={
        "SAFETY.INPUT.TEXT": Fault.MODERATED,
        "SAFETY.INPUT.IMAGE": Fault.MODERATED,
        "SAFETY.OUTPUT.VIDEO": Fault.MODERATED,
        "INPUT_PREPROCESSING.SAFETY.TEXT": Fault.MODERATED,
        "INPUT_PREPROCESSING.INTERNAL": Fault.TRANSIENT,
        "INTERNAL": Fault.TRANSIENT,
        "INTERNAL.BAD_OUTPUT.CODE01": Fault.TRANSIENT,
        "ASSET.INVALID": Fault.REFUSED,
        "INPUT.INVALID": Fault.REFUSED,
        "THIRD_PARTY.UNAVAILABLE": Fault.UNKNOWN,
        "SAFETYNET": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=lambda code: runway_task("FAILED") | ({"failureCode": code} if code else {}),
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        404: Fault.GONE,
        405: Fault.REFUSED,
        429: Fault.RATE,
        502: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
        504: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 404, 405, 429, 503}),
    error=lambda words: {"error": words, "docUrl": "https://docs.dev.runwayml.com"},
    accepted={"id": ID, "estimatedCost": {"credits": 60}},
)

LUMA_AGENTS = Documented(
    words={
        "queued": Phase.QUEUED,
        "processing": Phase.RUNNING,
        "completed": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=frozenset(get_args(Generation.model_fields["state"].annotation)),
    answer=luma_generation,
    needed={"queued": ("state",), "completed": ("state", "output")},
    faults={
        "content_moderated": Fault.MODERATED,
        "generation_failed": Fault.TRANSIENT,
        "output_not_found": Fault.TRANSIENT,
        "budget_exhausted": Fault.QUOTA,
        "image_too_large": Fault.REFUSED,
        "unsupported_format": Fault.REFUSED,
        "corrupt_input": Fault.REFUSED,
        "invalid_request": Fault.REFUSED,
        "rate_limited": Fault.RATE,
        "brand_new_code": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=lambda code: luma_generation("failed") | {"failure_code": code},
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        402: Fault.QUOTA,
        403: Fault.AUTH,
        413: Fault.REFUSED,
        422: Fault.REFUSED,
        429: Fault.RATE,
        502: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 402, 403, 413, 422, 429, 503}),
    error=lambda words: {"detail": words},
    accepted=luma_generation("queued"),
)

TABLES: Mapping[str, Documented] = {"runway": RUNWAY, "luma_agents": LUMA_AGENTS}
ALL = pytest.mark.parametrize("name", TABLES)


def rows(of: Callable[[Documented], Mapping[Any, Any]]) -> pytest.MarkDecorator:
    """One test for each row of a part of every provider's table."""
    params = [
        pytest.param(name, key, value, id=f"{name}: {key}")
        for name, table in TABLES.items()
        for key, value in of(table).items()
    ]
    return pytest.mark.parametrize(("name", "given", "expected"), params)


class Answering:
    """A client that always gives the same answer and keeps the request."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.response = Response(status=status, headers=headers or {}, content=content)
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        return self.response

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        raise NotImplementedError

    async def close(self) -> None:
        """Holds nothing."""


def account(name: str, base_url: str = "http://127.0.0.1:9") -> Account:
    variables = PROVIDERS[name].credentials[0]
    return Account(
        name=name,
        provider=name,
        base_url=base_url,
        credentials={variable: f"key_{variable.lower()}_0123456789" for variable in variables},
    )


def told(name: str, client: Client, flow: Flow[T], base_url: str = "http://127.0.0.1:9") -> T:
    async def talk() -> T:
        try:
            return await converse(
                flow,
                provider=PROVIDERS[name],
                account=account(name, base_url),
                client=client,
                now=1_800_000_000.0,
            )
        finally:
            await client.close()

    return asyncio.run(talk())


def polled(name: str, body: object, *, status: int = 200) -> Mapping[str, Update]:
    return told(name, Answering(status, body), PROVIDERS[name].poll([ID]))


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_has_a_table(name: str) -> None:
    assert name in TABLES, f"{name} has no table of documented answers in this file"


@ALL
def test_the_table_has_every_word_of_the_sdk(name: str) -> None:
    assert set(TABLES[name].words) == TABLES[name].words_of_sdk


def test_the_table_has_every_failure_code_of_lumas_sdk() -> None:
    assert set(get_args(GenerationFailureCode)) < set(LUMA_AGENTS.faults)


@rows(lambda table: table.words)
def test_a_documented_word_comes_to_its_phase(name: str, given: str, expected: Phase) -> None:
    # When a poll is answered with the word
    update = polled(name, TABLES[name].answer(given))[ID]
    # Then it has the phase, a video if it is done, and a reason if it went wrong
    assert update.phase is expected
    assert [video.url for video in update.videos] == ([LINK] if given in DONE else [])
    assert (update.failure is not None) == (expected in {Phase.FAILED, Phase.CANCELLED})


DONE = {"SUCCEEDED", "completed"}


@ALL
def test_an_undocumented_word_is_loud(name: str) -> None:
    with pytest.raises(UnknownStatus, match="UPSCALING"):
        polled(name, TABLES[name].answer("UPSCALING"))


@rows(lambda table: table.faults)
def test_a_failure_code_comes_to_its_fault(name: str, given: str | None, expected: Fault) -> None:
    failure = polled(name, TABLES[name].failed(given))[ID].failure
    assert failure is not None
    assert failure.fault is expected
    assert given is None or given in failure.message


@rows(lambda table: table.errors)
def test_an_error_answer_to_a_submit_comes_to_its_fault(
    name: str, given: int, expected: Fault
) -> None:
    # Given a vendor that refuses the POST and quotes the prompt, the key and a signed link
    words = f"{ASK.prompt} {account(name).credentials} https://x.example/a?sig=secret no luck"
    client = Answering(given, TABLES[name].error(words))
    # When it is submitted
    with pytest.raises(ProviderError) as caught:
        told(name, client, PROVIDERS[name].submit(ASK))
    # Then the failure says what it means, in the vendor's words and without ours
    failure = caught.value.failure
    assert (caught.value.status, failure.fault) == (given, expected)
    assert "no luck" in failure.message
    for secret in (ASK.prompt, "0123456789", "sig="):
        assert secret not in failure.message
    # And only a documented refusal proves that nothing was accepted
    proves = given in PROVIDERS[name].capabilities.refusals
    assert proves == (given in TABLES[name].refusals)
    assert len(client.requests) == 1


@ALL
def test_a_429_carries_its_retry_after(name: str) -> None:
    client = Answering(429, TABLES[name].error("slow down"), {"retry-after": "17"})
    with pytest.raises(ProviderError) as caught:
        told(name, client, PROVIDERS[name].poll([ID]))
    assert caught.value.failure.fault is Fault.RATE
    assert caught.value.failure.retry_after == 17


@ALL
def test_an_operation_that_is_not_there_is_missing_from_the_poll(name: str) -> None:
    assert polled(name, {"error": "not found"}, status=404) == {}


MALFORMED = [
    b"",
    b"<html>502</html>",
    b'{"id": "1", "status": "SUCC',
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b'"PENDING"',
    b"7",
    b"[" * 100_000,
    b"{}",
    b'{"id": null, "status": null, "state": null}',
    b'{"id": 7, "status": 7, "state": 7}',
    b'{"id": "", "status": "", "state": ""}',
    b'{"id": {}, "status": [], "state": {}}',
]


@ALL
@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:24]))
def test_an_answer_that_is_not_as_documented_is_a_bad_answer(name: str, body: bytes) -> None:
    provider = PROVIDERS[name]
    with pytest.raises(BadAnswer):
        told(name, Answering(200, body), provider.submit(ASK))
    with pytest.raises(BadAnswer):
        told(name, Answering(200, body), provider.poll([ID]))


@rows(lambda table: table.needed)
def test_an_answer_without_a_needed_field_is_a_bad_answer(
    name: str, given: str, expected: tuple[str, ...]
) -> None:
    whole = TABLES[name].answer(given)
    for field in expected:
        for broken in ({k: v for k, v in whole.items() if k != field}, whole | {field: None}):
            with pytest.raises(BadAnswer, match=field):
                polled(name, broken)


@ALL
@pytest.mark.parametrize("output", [[], [None], ["not a link"], [{"type": "video"}], {}, "x"])
def test_a_success_without_a_usable_link_is_a_bad_answer(name: str, output: object) -> None:
    word = next(word for word in TABLES[name].words if word in DONE)
    with pytest.raises(BadAnswer):
        polled(name, TABLES[name].answer(word) | {"output": output})


@ALL
@pytest.mark.parametrize("operation_id", [".", "..", "a\nb", "x" * 513])
def test_an_id_that_could_not_stand_in_a_path_is_a_bad_answer(name: str, operation_id: str) -> None:
    accepted = TABLES[name].accepted | {"id": operation_id}
    with pytest.raises(BadAnswer, match="id"):
        told(name, Answering(200, accepted), PROVIDERS[name].submit(ASK))


@ALL
def test_an_accepted_submit_names_the_operation_and_is_one_paid_post(name: str) -> None:
    calls = PROVIDERS[name].submit(ASK)
    assert next(calls).paid
    client = Answering(200, TABLES[name].accepted)
    assert told(name, client, PROVIDERS[name].submit(ASK)).operation_id == ID
    assert len(client.requests) == 1
