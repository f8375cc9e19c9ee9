"""What leaves for a vendor is what the vendor's own SDK would send for the same ask.

The SDK is driven against a loopback server that records; our adapter goes through the exchange.
A provider without a judge here fails the suite.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from luma_agents import Luma
from runwayml import RunwayML

from providers.base import Account, Ask, Flow, Provider
from providers.exchange import converse
from providers.registry import PROVIDERS
from transport.base import Request, Response, Stream

IMAGE = "https://pictures.example.com/first.png?size=1%2F2&name=été"
LAST = "https://pictures.example.com/last.png"
DATA = "data:image/png;base64,aGVsbG8="
PROMPT = 'A fox — "quick" 🦊\nacross <snow> & ice'

#: Headers of the connection and of the SDK's own telemetry: they say nothing to the vendor's API.
UNTOLD = {
    *("host", "connection", "accept", "accept-encoding", "user-agent"),
    *("content-length", "content-type", "transfer-encoding"),
}


@dataclass(frozen=True)
class Sent:
    """A request as a vendor sees it."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    content_type: str | None
    body: Any


@dataclass(frozen=True)
class Case:
    """One ask, told to the SDK and to our adapter."""

    name: str
    sdk: Callable[[Any], object]
    ours: Callable[[Provider], Flow[Any]]
    answer: Any = None
    status: int = 200


@dataclass(frozen=True)
class Judge:
    """A vendor's SDK and what it is asked to do."""

    credentials: Mapping[str, str]
    #: What the SDK calls its base URL, after the server's origin.
    base_path: str
    client: Callable[[str], AbstractContextManager[Any]]
    cases: tuple[Case, ...] = field(default=())


def ask(**changes: object) -> Ask:
    values: dict[str, Any] = {
        "attempt_id": "a1",
        "marker": "m1",
        "upstream": "gen4.5",
        "prompt": PROMPT,
        "duration_seconds": 5,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "width": 1280,
        "height": 720,
    }
    values.update(changes)
    return Ask(**values)


RUNWAY_TASK = {
    "id": "t1",
    "status": "RUNNING",
    "progress": 0.5,
    "createdAt": "2026-11-21T00:00:00Z",
    "estimatedCost": {"credits": 60},
}
RUNWAY_ACCEPTED = {"id": "t1", "estimatedCost": {"credits": 60}}

RUNWAY = Judge(
    credentials={"RUNWAYML_API_SECRET": "key_" + "0" * 128},
    base_path="",
    client=lambda url: RunwayML(api_key="key_" + "0" * 128, base_url=url, max_retries=0),
    cases=(
        Case(
            "submit text",
            sdk=lambda sdk: sdk.text_to_video.create(
                model="gen4.5", prompt_text=PROMPT, ratio="1280:720", duration=5, seed=0
            ),
            ours=lambda provider: provider.submit(ask(seed=0)),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "submit text with every option",
            sdk=lambda sdk: sdk.text_to_video.create(
                model="veo3.1",
                prompt_text=PROMPT,
                ratio="1080:1920",
                duration=8,
                seed=2**32 - 1,
                audio=False,
                negative_prompt="blur",
            ),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="veo3.1",
                    duration_seconds=8,
                    width=1080,
                    height=1920,
                    seed=2**32 - 1,
                    audio=False,
                    negative_prompt="blur",
                )
            ),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "submit image",
            sdk=lambda sdk: sdk.image_to_video.create(
                model="gen4_turbo",
                prompt_image=IMAGE,
                prompt_text=PROMPT,
                ratio="832:1104",
                duration=10,
            ),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="gen4_turbo",
                    image=IMAGE,
                    width=832,
                    height=1104,
                    duration_seconds=10,
                )
            ),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "submit first and last image",
            sdk=lambda sdk: sdk.image_to_video.create(
                model="veo3.1_fast",
                prompt_image=[
                    {"uri": DATA, "position": "first"},
                    {"uri": LAST, "position": "last"},
                ],
                prompt_text=PROMPT,
                ratio="1280:720",
                duration=4,
                audio=True,
            ),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="veo3.1_fast",
                    image=DATA,
                    last_image=LAST,
                    duration_seconds=4,
                    audio=True,
                )
            ),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.tasks.retrieve("17f20503-6c24-4c16-946b-35dbbce2af2f"),
            ours=lambda provider: provider.poll(["17f20503-6c24-4c16-946b-35dbbce2af2f"]),
            answer=RUNWAY_TASK,
        ),
        Case(
            "cancel",
            sdk=lambda sdk: sdk.tasks.delete("17f20503-6c24-4c16-946b-35dbbce2af2f"),
            ours=lambda provider: provider.cancel("17f20503-6c24-4c16-946b-35dbbce2af2f"),
            status=204,
        ),
    ),
)

LUMA_GENERATION = {
    "id": "g1",
    "created_at": "2026-11-21T00:00:00Z",
    "model": "ray-3.2",
    "state": "queued",
    "type": "video",
}


def luma_case(name: str, video: dict[str, Any], **changes: object) -> Case:
    return Case(
        name,
        sdk=lambda sdk: sdk.generations.create(
            model="ray-3.2", type="video", prompt=PROMPT, aspect_ratio="16:9", video=video
        ),
        ours=lambda provider: provider.submit(ask(upstream="ray-3.2", **changes)),
        answer=LUMA_GENERATION,
        status=201,
    )


LUMA_AGENTS = Judge(
    credentials={"LUMA_AGENTS_API_KEY": "luma-api-test"},
    base_path="/v1",
    client=lambda url: Luma(auth_token="luma-api-test", base_url=url, max_retries=0),
    cases=(
        luma_case("submit text", {"duration": "5s", "resolution": "720p"}),
        luma_case(
            "submit image",
            {"duration": "5s", "resolution": "1080p", "start_frame": {"url": IMAGE}},
            image=IMAGE,
            resolution="1080p",
        ),
        luma_case(
            "submit first and last image",
            {
                "duration": "5s",
                "resolution": "720p",
                "start_frame": {"data": "aGVsbG8=", "media_type": "image/png"},
                "end_frame": {"url": LAST},
            },
            image=DATA,
            last_image=LAST,
        ),
        luma_case(
            "submit a long video between images",
            {
                "duration": "10s",
                "resolution": "720p",
                "keyframes": [{"url": IMAGE}, {"url": LAST}],
                "keyframe_indexes": [0, 240],
            },
            image=IMAGE,
            last_image=LAST,
            duration_seconds=10,
        ),
        luma_case(
            "submit a long video towards an image",
            {
                "duration": "10s",
                "resolution": "720p",
                "keyframes": [{"url": LAST}],
                "keyframe_indexes": [240],
            },
            last_image=LAST,
            duration_seconds=10,
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.generations.get("8d2b7e5c-9a40-4c9e-8a53-1b8f4f9f0c11"),
            ours=lambda provider: provider.poll(["8d2b7e5c-9a40-4c9e-8a53-1b8f4f9f0c11"]),
            answer=LUMA_GENERATION,
        ),
        Case(
            "poll an odd id",
            sdk=lambda sdk: sdk.generations.get("a/../b?c d#é"),
            ours=lambda provider: provider.poll(["a/../b?c d#é"]),
            answer=LUMA_GENERATION,
        ),
    ),
)

JUDGES: Mapping[str, Judge] = {"runway": RUNWAY, "luma_agents": LUMA_AGENTS}

ALL_CASES = [
    pytest.param(name, case, id=f"{name}: {case.name}")
    for name, judge in JUDGES.items()
    for case in judge.cases
]


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_judged_in_every_verb_that_it_offers(name: str) -> None:
    # Given a provider and what it says it can do
    offered = {"submit text", "submit image", "poll"}
    if PROVIDERS[name].capabilities.cancel:
        offered.add("cancel")
    if PROVIDERS[name].capabilities.look_up:
        offered.add("look up")
    # Then its vendor's SDK is here to judge each of these
    assert name in JUDGES, f"{name} has no judge: add its vendor's SDK to this file"
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
    assert by_sdk
    assert by_us == by_sdk


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
    account = Account(
        name=name,
        provider=name,
        base_url=base_url,
        credentials=JUDGES[name].credentials,
    )
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
        self.seen.append(sent(request.method, target, request.headers, request.content or b""))
        body = b"" if self.case.answer is None else json.dumps(self.case.answer).encode()
        return Response(status=self.case.status, headers={}, content=body)

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        raise NotImplementedError

    async def close(self) -> None:
        """Holds nothing."""


def sent(method: str, target: str, headers: Mapping[str, str], content: bytes) -> Sent:
    parts = urlsplit(target)
    lower = {name.lower(): value for name, value in headers.items()}
    return Sent(
        method=method,
        path=parts.path,
        query=tuple(sorted(parse_qsl(parts.query, keep_blank_values=True))),
        headers={
            name: value
            for name, value in lower.items()
            if name not in UNTOLD and not name.startswith("x-stainless-")
        },
        content_type=lower.get("content-type") if content else None,
        body=json.loads(content) if content else None,
    )
