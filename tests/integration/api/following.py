"""Listeners of server-sent events, and the API on a real socket whose looks are counted."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from api.__main__ import Server
from api.app import create_app
from api.front import Front
from api.streams import Streams
from api.watching import Watcher
from models.advance import advance_jobs
from models.keys import create_key
from models.state import JobState
from settings import Settings
from tasks import history
from tasks.batches import following
from tests.integration.api.conftest import Hints
from tests.integration.engine.waiting import until

PATH = "/v1/video/generations"


@dataclass(frozen=True, slots=True)
class Message:
    """One message, or a ping, which has only a comment."""

    event: str | None = None
    data: Any = None
    id: int | None = None
    comment: str | None = None


@dataclass(slots=True)
class Listener:
    """An open stream."""

    response: httpx.Response
    lines: AsyncIterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.response.aiter_lines()

    async def any(self) -> Message | None:
        """The next message or ping; None at the end of the stream."""
        fields: dict[str, Any] = {}
        async with asyncio.timeout(20):
            async for line in self.lines:
                if not line:
                    return Message(**fields)
                name, _, value = line.partition(": ")
                match name:
                    case "":
                        fields["comment"] = value
                    case "data":
                        fields["data"] = json.loads(value)
                    case "id":
                        fields["id"] = int(value)
                    case _:
                        fields[name] = value
        assert not fields, "the stream ended within a message"
        return None

    async def next(self) -> Message | None:
        """The next message that is no ping; None at the end of the stream."""
        while (message := await self.any()) is not None and message.comment is not None:
            pass
        return message

    async def rest(self) -> list[Message]:
        """All messages up to the end of the stream."""
        found = []
        while message := await self.next():
            found.append(message)
        return found


@dataclass(slots=True, kw_only=True)
class Live:
    """The API on a socket, and a client with a key of the tenant acme."""

    app: FastAPI
    server: Server
    http: httpx.AsyncClient
    #: What each look asked for: when it began, and when it was answered.
    begun: list[Sequence[history.Asked]] = field(default_factory=list)
    answered: list[Sequence[history.Asked]] = field(default_factory=list)

    @property
    def front(self) -> Front:
        front: Front = self.app.state.front
        return front

    async def new_key(self, tenant: str) -> dict[str, str]:
        """The headers of a new key."""
        _, plain = await self.front.engine.database.run(
            lambda connection: create_key(connection, tenant)
        )
        return {"Authorization": f"Bearer {plain}"}

    async def submit(self) -> str:
        answer = await self.http.post(PATH, json={"prompt": "a fox in fresh snow"})
        assert answer.status_code == 202, answer.text
        id_: str = answer.json()["id"]
        return id_

    async def advance(self, job: str, *states: JobState) -> None:
        for state in states:
            work = partial(advance_jobs, to=state, ids=[job])
            assert await self.front.engine.database.run(work)

    async def ids(self, job: str) -> list[int]:
        """The ids of a job's transitions."""
        rows = await self.front.engine.database.fetch(
            "SELECT id FROM event WHERE job = %s AND kind = ANY(%s) ORDER BY id",
            (job, list(JobState)),
        )
        return [row["id"] for row in rows]

    async def answer(self, job: str, **options: Any) -> httpx.Response:
        """The answer to a request that no stream is the answer to."""
        async with asyncio.timeout(20):
            return await self.http.get(f"{PATH}/{job}/events", **options)

    @asynccontextmanager
    async def following(
        self, job: str, *, after: int | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Listener]:
        resumes = {} if after is None else {"Last-Event-ID": str(after)}
        async with self.http.stream(
            "GET", f"{PATH}/{job}/events", headers={**(headers or {}), **resumes}
        ) as response:
            assert response.status_code == 200, await response.aread()
            yield Listener(response)

    def set(self, **options: Any) -> None:
        """Set other limits of streams: those of `Streams`."""
        self.front.streams = Streams(**options)

    def stop(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)

    async def look(self, asked: Sequence[history.Asked]) -> Mapping[history.Asked, history.Seen]:
        self.begun.append(asked)
        found = await history.look(self.front.engine, asked)
        self.answered.append(asked)
        return found


@asynccontextmanager
async def live(settings: Settings) -> AsyncIterator[Live]:
    """It serves until the block ends, or until it is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(settings, hinter=Hints)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, http="h11", ws="none", lifespan="on"
        )
        server = Server(config, app, settings)
        serves = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started or serves.done(), within=180)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=url, trust_env=False, timeout=60, limits=limits
        ) as http:
            made = Live(app=app, server=server, http=http)
            made.front.job_watcher = Watcher(made.look, every=0.01)
            look = partial(following.look, made.front.engine)
            made.front.batch_watcher = Watcher(look, every=0.01)
            http.headers.update(await made.new_key("acme"))
            try:
                yield made
            finally:
                made.front.streams.close()
                server.should_exit = True
        async with asyncio.timeout(20):
            await serves
