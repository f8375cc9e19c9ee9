"""Both clients, spoken to in the same way, with an API that a test makes up and its own clock."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from longtake import AsyncClient, Client, calls, seam

KEY = "lt_" + "k" * 32
Handler = Callable[[httpx.Request], httpx.Response]


class Speaker:
    """A client of either kind: awaits what is to be awaited, and collects what comes one by one."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = attrgetter(name)(self.client)

        def call(*args: Any, **names: Any) -> Any:
            found = method(*args, **names)
            if inspect.isasyncgen(found):
                return self._runner.run(_all(found))
            if inspect.isgenerator(found):
                return list(found)
            return self._runner.run(found) if inspect.iscoroutine(found) else found

        return call

    def shut(self) -> None:
        if isinstance(self.client, AsyncClient):
            self._runner.run(self.client.aclose())
        else:
            self.client.close()
        self._runner.close()


async def _all(found: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in found]


@dataclass
class Clock:
    """Time that passes by pauses alone."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    sleeps = SimpleNamespace(sleep=clock.async_sleep, to_thread=asyncio.to_thread)
    monkeypatch.setattr(seam, "asyncio", sleeps)
    monkeypatch.setattr(seam, "time", SimpleNamespace(sleep=clock.sleep))
    monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@dataclass
class Api:
    """What is asked, and how it is answered: by `answers` in turn, the last one again and again."""

    kind: type[Client] | type[AsyncClient]
    clock: Clock
    asked: list[httpx.Request] = field(default_factory=list)
    answers: list[httpx.Response | Exception | Handler] = field(default_factory=list)
    speakers: list[Speaker] = field(default_factory=list)

    def client(self, **settings: Any) -> Speaker:
        transport: Any = httpx.MockTransport(self._answer)
        client = self.kind(KEY, "http://api.test", transport=transport, **settings)
        self.speakers.append(Speaker(client))
        return self.speakers[-1]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
def api(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Api]:
    api = Api(request.param, clock)
    yield api
    for speaker in api.speakers:
        speaker.shut()


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces, and may break: an exception among them is raised."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def job(status: str = "pending", **fields: Any) -> dict[str, Any]:
    return {"id": "job_vid_1", "object": "video.generation", "status": status, **fields}


def told(value: Any, status: int = 200, **headers: str) -> Handler:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, json=value, headers=named)


def refused(status: int, code: str = "", **headers: str) -> Handler:
    error = {"type": "some_type", "code": code, "message": "no", "param": "p", "request_id": "r"}
    return told({"error": error}, status, **headers)
