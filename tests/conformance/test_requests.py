"""What leaves for a vendor is what the vendor's own SDK would send for the same ask.

The SDK is driven against a loopback server that records; our adapter goes through the exchange.
Where a vendor has no SDK, the examples in its documents stand for it. A provider without a judge
here fails the suite.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from catalog.models import Catalog
from providers.base import LookUp
from providers.exchange import converse
from providers.registry import PROVIDERS
from settings import Settings
from tests.conformance.judges.aimlapi import AIMLAPI, AIMLAPI_LEGACY
from tests.conformance.judges.fal import FAL
from tests.conformance.judges.gemini import GEMINI
from tests.conformance.judges.gemini_veo import GEMINI_VEO
from tests.conformance.judges.kling import KLING, KLING_LEGACY
from tests.conformance.judges.layer import LAYER
from tests.conformance.judges.luma_agents import LUMA_AGENTS
from tests.conformance.judges.luma_dream_machine import LUMA_DREAM_MACHINE
from tests.conformance.judges.lunos import LUNOS
from tests.conformance.judges.minimax import MINIMAX, MINIMAX_V2
from tests.conformance.judges.openai_videos import OPENAI_VIDEOS
from tests.conformance.judges.perf import PERF
from tests.conformance.judges.replicate import REPLICATE
from tests.conformance.judges.runway import RUNWAY
from tests.conformance.judges.veo import VEO
from tests.conformance.judging import Case, Judge
from transport.base import Request, Response, Stream
from transport.form import encode

#: Headers of the connection and of the SDK's own telemetry: they say nothing to the vendor's API.
UNTOLD = {
    *("host", "connection", "accept", "accept-encoding", "user-agent"),
    *("content-length", "content-type", "transfer-encoding", "x-goog-api-client"),
    *("accept-language", "sec-fetch-mode"),
    *("http-referer", "x-title", "x-aimlapi-partner-id", "x-aimlapi-source"),
}

#: A form's media type, whose boundary is another each time.
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Sent:
    """A request as a vendor sees it."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    content_type: str | None
    body: Any


JUDGES: Mapping[str, Judge] = {
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

#: Providers of whose models at least one takes a first frame.
TAKES_PICTURES = {
    route.provider
    for model in Catalog.load(Settings()).models()
    for route in model.routes.values()
    if route.image != "none"
}

ALL_CASES = [
    pytest.param(name, case, id=f"{name}: {case.name}")
    for name, judge in JUDGES.items()
    for case in judge.cases
]


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_judged_in_every_verb_that_it_offers(name: str) -> None:
    # Given a provider and what it says it can do
    offered = {"submit text"}
    if name in TAKES_PICTURES:
        offered.add("submit image")
    if not PROVIDERS[name].capabilities.synchronous:
        offered.add("poll")
    if PROVIDERS[name].capabilities.cancel:
        offered.add("cancel")
    if set(PROVIDERS[name].capabilities.look_up) & {LookUp.EXTERNAL_ID, LookUp.LIST}:
        offered.add("look up")
    if PROVIDERS[name].capabilities.listed:
        offered.add("survey")
    # Then its vendor's SDK, or its documents, are here to judge each of these
    assert name in JUDGES, f"{name} has no judge: give it one in tests/conformance/judges"
    assert offered <= {case.name for case in JUDGES[name].cases}


@pytest.mark.parametrize(("name", "case"), ALL_CASES)
def test_the_adapter_sends_what_the_sdk_sends(name: str, case: Case) -> None:
    # Given what the vendor's own SDK sends to a server of ours
    judge = JUDGES[name]
    with recording(case) as (origin, seen):
        with judge.client(origin + judge.base_path) as sdk:
            case.sdk(sdk)
        by_sdk = seen.copy()
    # When our adapter is asked for the same
    by_us = asyncio.run(sent_by_us(name, case, origin + judge.base_path))
    # Then the vendor sees the same
    by_sdk = by_sdk[case.part]
    assert by_sdk
    if case.apart:
        (ours,), (theirs,) = by_us, by_sdk
        assert ours.body.keys() ^ theirs.body.keys() == case.apart
        by_us, by_sdk = [without(ours, case.apart)], [without(theirs, case.apart)]
    assert by_us == by_sdk


def without(request: Sent, members: frozenset[str]) -> Sent:
    body = {name: value for name, value in request.body.items() if name not in members}
    return replace(request, body=body)


@contextmanager
def recording(case: Case) -> Iterator[tuple[str, list[Sent]]]:
    """A loopback server that answers every request as the case says and keeps what it saw."""
    seen: list[Sent] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            content = self.rfile.read(length)
            seen.append(sent(self.command, self.path, dict(self.headers.items()), content))
            body = b"" if case.answer is None else json.dumps(case.answer).encode()
            self.send_response(case.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PUT = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join(timeout=10)


async def sent_by_us(name: str, case: Case, base_url: str) -> list[Sent]:
    provider = PROVIDERS[name]
    account = provider.account(JUDGES[name].credentials, base_url=base_url)
    client = Recorder(case)
    await converse(
        case.ours(provider), provider=provider, account=account, client=client, now=1_800_000_000.0
    )
    return client.seen


class Recorder:
    """A client that answers as the case says and keeps what it was given."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.seen: list[Sent] = []

    async def send(self, request: Request) -> Response:
        parts = urlsplit(request.url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers, content = dict(request.headers), request.content or b""
        if request.form:
            headers["content-type"], content = encode(request.form)
        self.seen.append(sent(request.method, target, headers, content))
        body = b"" if self.case.answer is None else json.dumps(self.case.answer).encode()
        return Response(status=self.case.status, headers={}, content=body)

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        raise NotImplementedError

    async def close(self) -> None:
        """Holds nothing."""


def sent(method: str, target: str, headers: Mapping[str, str], content: bytes) -> Sent:
    parts = urlsplit(target)
    lower = {name.lower(): value for name, value in headers.items()}
    content_type = lower.get("content-type", "") if content else None
    is_form = content_type is not None and content_type.startswith(FORM)
    return Sent(
        method=method,
        path=parts.path,
        query=tuple(sorted(parse_qsl(parts.query, keep_blank_values=True))),
        headers={
            name: value
            for name, value in lower.items()
            if name not in UNTOLD and not name.startswith("x-stainless-")
        },
        content_type=FORM if is_form else content_type,
        body=parts_of(content_type or "", content) if is_form else json.loads(content or b"null"),
    )


def parts_of(content_type: str, content: bytes) -> list[tuple[str, str | None, str, object]]:
    """Name, file name, media type and bytes of each part of a form, in its order."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in BytesParser().parsebytes(head + content).walk()
        if not part.is_multipart()
    ]
