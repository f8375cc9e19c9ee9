"""What a vendor's answers come to: every documented word and error, and everything that is neither.

A provider without a table fails the suite.
"""

import asyncio
import copy
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, get_args

import pytest
from luma_agents.types import GenerationFailureCode

from models.failure import Fault
from providers.answers import UnknownStatus
from providers.base import Account, Flow, Phase, ProviderError, Update
from providers.exchange import converse
from providers.registry import PROVIDERS
from tests.conformance.documented import ASK, Documented
from tests.conformance.documents.aimlapi import AIMLAPI, AIMLAPI_LEGACY
from tests.conformance.documents.fal import FAL
from tests.conformance.documents.gemini import GEMINI
from tests.conformance.documents.kling import KLING, KLING_LEGACY
from tests.conformance.documents.layer import LAYER
from tests.conformance.documents.luma_agents import LUMA_AGENTS
from tests.conformance.documents.luma_dream_machine import LUMA_DREAM_MACHINE
from tests.conformance.documents.lunos import LUNOS
from tests.conformance.documents.minimax import MINIMAX, MINIMAX_V2
from tests.conformance.documents.openai_videos import OPENAI_VIDEOS
from tests.conformance.documents.perf import PERF
from tests.conformance.documents.replicate import REPLICATE
from tests.conformance.documents.runway import RUNWAY
from tests.conformance.documents.veo import GEMINI_VEO, VEO
from transport.base import BadAnswer, Client, Request, Response, Stream

T = TypeVar("T")

TABLES: Mapping[str, Documented] = {
    "runway": RUNWAY,
    "luma_agents": LUMA_AGENTS,
    "luma_dream_machine": LUMA_DREAM_MACHINE,
    "kling": KLING,
    "kling_legacy": KLING_LEGACY,
    "fal": FAL,
    "replicate": REPLICATE,
    "veo": VEO,
    "gemini_veo": GEMINI_VEO,
    "gemini": GEMINI,
    "minimax": MINIMAX,
    "minimax_v2": MINIMAX_V2,
    "openai_videos": OPENAI_VIDEOS,
    "aimlapi": AIMLAPI,
    "aimlapi_legacy": AIMLAPI_LEGACY,
    "lunos": LUNOS,
    "perf": PERF,
    "layer": LAYER,
}
ALL = pytest.mark.parametrize("name", TABLES)
POLLED = pytest.mark.parametrize(
    "name", [name for name in TABLES if not PROVIDERS[name].capabilities.synchronous]
)


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
    """What the answer comes to; a synchronous vendor gives it to the submit."""
    if PROVIDERS[name].capabilities.synchronous:
        accepted = told(name, Answering(status, body), PROVIDERS[name].submit(ASK))
        assert accepted.update is not None
        return {accepted.operation_id: accepted.update}
    return told(name, Answering(status, body), PROVIDERS[name].poll([TABLES[name].operation_id]))


def looked(name: str, body: object) -> Update:
    return polled(name, body)[TABLES[name].operation_id]


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_has_a_table(name: str) -> None:
    assert name in TABLES, f"{name} has no table: give it one in tests/conformance/documents"


@ALL
def test_the_table_has_every_word_of_the_sdk(name: str) -> None:
    assert set(TABLES[name].words) == TABLES[name].words_of_sdk


def test_the_table_has_every_failure_code_of_lumas_sdk() -> None:
    assert set(get_args(GenerationFailureCode)) < set(LUMA_AGENTS.faults)


@rows(lambda table: table.words)
def test_a_documented_word_comes_to_its_phase(name: str, given: str, expected: Phase) -> None:
    # When a poll is answered with the word
    update = looked(name, TABLES[name].answer(given))
    # Then it has the phase, a video if it is done, and a reason if it went wrong
    assert update.phase is expected
    assert update.videos == ((TABLES[name].video,) if expected is Phase.SUCCEEDED else ())
    assert (update.failure is not None) == (expected in {Phase.FAILED, Phase.CANCELLED})


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.has_words])
def test_an_undocumented_word_is_loud(name: str) -> None:
    with pytest.raises(UnknownStatus, match="UPSCALING"):
        polled(name, TABLES[name].answer("UPSCALING"))


@rows(lambda table: table.faults)
def test_a_failure_code_comes_to_its_fault(name: str, given: str | None, expected: Fault) -> None:
    failure = looked(name, TABLES[name].failed(given)).failure
    assert failure is not None
    assert failure.fault is expected
    assert given is None or given in failure.message


@rows(lambda table: table.errors)
def test_an_error_answer_to_a_submit_comes_to_its_fault(
    name: str, given: int, expected: Fault
) -> None:
    # Given a vendor that refuses the POST and quotes the prompt, the key and a signed link
    words = (
        f"no luck: {ASK.scene.prompt} {account(name).credentials} https://x.example/a?sig=secret"
    )
    client = Answering(given, TABLES[name].error(words))
    # When it is submitted
    with pytest.raises(ProviderError) as caught:
        told(name, client, PROVIDERS[name].submit(ASK))
    # Then the failure says what it means, in the vendor's words and without ours
    failure = caught.value.failure
    assert (caught.value.status, failure.fault) == (given, expected)
    assert "no luck" in failure.message
    for secret in (ASK.scene.prompt, "0123456789", "sig="):
        assert secret not in failure.message
    # And only a documented refusal proves that nothing was accepted
    proves = given in PROVIDERS[name].capabilities.refusals
    assert proves == (given in TABLES[name].refusals)
    assert len(client.requests) == 1


@POLLED
def test_a_429_carries_its_retry_after(name: str) -> None:
    client = Answering(429, TABLES[name].error("slow down"), {"retry-after": "17"})
    with pytest.raises(ProviderError) as caught:
        told(name, client, PROVIDERS[name].poll([TABLES[name].operation_id]))
    assert caught.value.failure.fault is Fault.RATE
    assert caught.value.failure.retry_after == 17


@POLLED
def test_an_operation_that_is_not_there_is_missing_from_the_poll(name: str) -> None:
    assert polled(name, TABLES[name].missing, status=404) == {}


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
    with pytest.raises(BadAnswer):
        told(name, Answering(200, body), PROVIDERS[name].submit(ASK))
    with pytest.raises(BadAnswer):
        polled(name, body)


@rows(lambda table: table.needed)
def test_an_answer_without_a_needed_field_is_a_bad_answer(
    name: str, given: str, expected: tuple[str, ...]
) -> None:
    for field in expected:
        without, empty = (copy.deepcopy(TABLES[name].answer(given)) for _ in range(2))
        del TABLES[name].in_poll(without)[field]
        TABLES[name].in_poll(empty)[field] = None
        for broken in (without, empty):
            with pytest.raises(BadAnswer, match=field):
                polled(name, broken)


@pytest.mark.parametrize(
    ("name", "made"), [(name, table.made) for name, table in TABLES.items() if table.made]
)
@pytest.mark.parametrize("output", [[], [None], ["not a link"], [{"type": "video"}], {}, "x"])
def test_a_success_without_a_usable_link_is_a_bad_answer(
    name: str, made: Callable[[object], object], output: object
) -> None:
    with pytest.raises(BadAnswer):
        polled(name, made(output))


@ALL
@pytest.mark.parametrize("operation_id", [".", "..", "a\nb", "x" * 513])
def test_an_id_that_could_not_stand_in_a_path_is_a_bad_answer(name: str, operation_id: str) -> None:
    accepted = copy.deepcopy(TABLES[name].accepted)
    TABLES[name].in_submit(accepted)[TABLES[name].id_field] = operation_id
    with pytest.raises(BadAnswer, match="id"):
        told(name, Answering(200, accepted), PROVIDERS[name].submit(ASK))


@ALL
def test_an_accepted_submit_names_the_operation_and_is_one_paid_post(name: str) -> None:
    calls = PROVIDERS[name].submit(ASK)
    assert next(calls).paid
    client = Answering(200, TABLES[name].accepted)
    assert told(name, client, PROVIDERS[name].submit(ASK)).operation_id == TABLES[name].operation_id
    assert len(client.requests) == 1
