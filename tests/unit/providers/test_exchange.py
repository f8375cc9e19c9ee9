"""The exchange carries any verb: addresses, credentials, errors, answers that can't be read."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from models.failure import Fault
from providers.base import Account, Call, Flow, ProviderError
from providers.exchange import converse, request_for
from providers.vendors.runway import Runway
from transport.base import BadAnswer, NotSent, Request, Response, Stream, Unanswered

PROVIDER = Runway()


def account(base_url: str = "https://api.example.com:443/runway") -> Account:
    key = {"RUNWAYML_API_SECRET": "key_0123456789abcdef"}
    return Account(name="runway", provider="runway", base_url=base_url, credentials=key)


class Scripted:
    """A client that gives the scripted answers in turn."""

    def __init__(self, *answers: tuple[int, object] | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        match self.answers.pop(0):
            case Exception() as error:
                raise error
            case (status, body):
                content = json.dumps(body).encode()
                return Response(status=status, headers={}, content=content)

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        raise NotImplementedError

    async def close(self) -> None:
        """Holds nothing."""


def told(flow: Flow[object], client: Scripted) -> object:
    return asyncio.run(
        converse(flow, provider=PROVIDER, account=account(), client=client, now=1_800_000_000.0)
    )


def dressed(call: Call, base_url: str = "https://api.example.com") -> Request:
    return request_for(call, provider=PROVIDER, account=account(base_url), now=0.0)


def steps(*calls: Call) -> Flow[Sequence[int]]:
    statuses = []
    for call in calls:
        response = yield call
        statuses.append(response.status)
    return statuses


def test_a_flow_of_several_calls_is_driven_to_its_result() -> None:
    # Given a verb of two calls, the second of which reads a 409 itself
    flow = steps(
        Call(method="POST", path="/v1/a", json={"a": "é"}, paid=True),
        Call(method="GET", path="/v1/b", query={"page": "1 2"}, accept=frozenset({409})),
    )
    client = Scripted((201, {}), (409, {}))
    # When it is driven
    assert told(flow, client) == [201, 409]
    # Then each call went to the account's base address, encoded
    assert [(each.method, each.url) for each in client.requests] == [
        ("POST", "https://api.example.com:443/runway/v1/a"),
        ("GET", "https://api.example.com:443/runway/v1/b?page=1+2"),
    ]
    assert client.requests[0].content == '{"a":"é"}'.encode()
    assert client.requests[0].headers["content-type"] == "application/json"
    assert "content-type" not in client.requests[1].headers


def test_a_flow_that_needs_no_call_gives_its_result() -> None:
    assert told(steps(), Scripted()) == []


def test_an_answer_that_the_verb_does_not_read_is_the_providers_error() -> None:
    client = Scripted((409, {"error": "busy"}))
    with pytest.raises(ProviderError) as caught:
        told(steps(Call(method="GET", path="/v1/b")), client)
    assert caught.value.status == 409
    assert caught.value.failure.fault is Fault.REFUSED
    assert caught.value.failure.message == "Runway answered HTTP 409: busy"


@pytest.mark.parametrize("status", [301, 302, 304, 307])
def test_a_redirect_is_an_error_and_not_followed(status: int) -> None:
    client = Scripted((status, {}))
    with pytest.raises(ProviderError) as caught:
        told(steps(Call(method="GET", path="/v1/b")), client)
    assert caught.value.failure.fault is Fault.UNKNOWN
    assert len(client.requests) == 1


@pytest.mark.parametrize("error", [NotSent("refused"), Unanswered("gone"), BadAnswer("cut")])
def test_what_happened_on_the_wire_is_passed_on_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        told(steps(Call(method="POST", path="/v1/a", paid=True)), Scripted(error))
    assert caught.value is error


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (KeyError("status"), "'status' is missing"),
        (TypeError("'https://signed' is no int"), "cannot be parsed"),
        (ValueError("a whole prompt"), "cannot be parsed"),
        (ZeroDivisionError("0"), "cannot be parsed"),
        (RecursionError("deep"), "cannot be parsed"),
    ],
)
def test_a_misread_answer_is_a_bad_answer_that_quotes_no_value(
    raised: Exception, words: str
) -> None:
    def flow() -> Flow[None]:
        yield Call(method="POST", path="/v1/a", paid=True)
        raise raised

    with pytest.raises(BadAnswer) as caught:
        told(flow(), Scripted((200, {})))
    assert "runway: unexpected response to POST /v1/a" in str(caught.value)
    assert words in str(caught.value)
    assert "signed" not in str(caught.value)
    assert "prompt" not in str(caught.value)


def test_a_mistake_before_the_first_call_is_not_blamed_on_the_vendor() -> None:
    def flow() -> Flow[None]:
        paths: Mapping[str, str] = {}
        yield Call(method="POST", path=paths["no such entry"])

    with pytest.raises(KeyError):
        told(flow(), Scripted())


def test_a_flow_is_closed_when_the_wire_fails() -> None:
    closed = []

    def flow() -> Flow[None]:
        try:
            yield Call(method="GET", path="/v1/a")
        finally:
            closed.append(True)

    with pytest.raises(NotSent):
        told(flow(), Scripted(NotSent("refused")))
    assert closed == [True]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1/files/1",
        "https://api.example.com:443/v1/files/1",
        "https://API.example.com/v1/files/1",
    ],
)
def test_a_link_to_the_vendors_own_origin_takes_the_key_along(url: str) -> None:
    assert "authorization" in dressed(Call(method="GET", path=url)).headers


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1/files/1",
        "https://api.example.com:8443/v1/files/1",
        "https://cdn.example.com/v1/files/1",
        "https://api.example.com.evil.net/1",
        "https://api.example.com@evil.net/1",
        "https://me@api.example.com/1",
        "https://evil.net\\@api.example.com/1",
        "https://api.example.com:port/1",
        "https://[::1/1",
    ],
)
def test_a_link_to_anywhere_else_goes_without_the_key(url: str) -> None:
    request = dressed(Call(method="GET", path=url))
    assert request.url == url
    assert set(request.headers) == {"accept"}


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("http://127.0.0.1:8100/runway", "/v1/tasks/1", "http://127.0.0.1:8100/runway/v1/tasks/1"),
        ("https://api.example.com/v1/", "/generations", "https://api.example.com/v1/generations"),
        ("https://api.example.com", "v1/tasks", "https://api.example.com/v1/tasks"),
    ],
)
def test_a_path_is_appended_to_the_base_address(base_url: str, path: str, url: str) -> None:
    assert dressed(Call(method="GET", path=path), base_url).url == url


def test_a_call_keeps_its_limits_and_its_own_headers_win() -> None:
    headers: Mapping[str, str] = {"Accept": "*/*", "X-Own": "1"}
    call = Call(method="GET", path="/v1/a", headers=headers, timeout=7.0, max_bytes=9)
    request = dressed(call)
    assert (request.timeout, request.max_bytes) == (7.0, 9)
    assert (request.headers["accept"], request.headers["x-own"]) == ("*/*", "1")
