"""Pictures of megabytes are read where they are sent alone, and hosts that hang hold no submit."""

import asyncio
import base64
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from scheduler.claim import Turn, claim
from tasks.engine import Engine
from tasks.intake import accept
from tasks.listing import Filter, list_jobs
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing
from tests.integration.engine.waiting import until
from transport.base import Request, Response, Unanswered

pytestmark = pytest.mark.anyio

MEGABYTE = 2**20
PNG = b"\x89PNG\r\n\x1a\n"
#: What rows and their objects may take, beside pictures.
MOST = 4 * MEGABYTE
GOOGLE = {"GEMINI_API_KEY": "key-for-tests", "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9"}


@dataclass(slots=True)
class Peak:
    """The most bytes that were allocated at a time."""

    bytes: int = 0


@contextmanager
def peak() -> Iterator[Peak]:
    measured = Peak()
    tracemalloc.start()
    try:
        yield measured
        measured.bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@dataclass(slots=True)
class World:
    """A vendor that accepts everything, and picture hosts that hang."""

    posts: list[str] = field(default_factory=list)
    #: How many wait for a picture.
    hanging: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self, request: Request) -> Response:
        if request.method == "POST":
            self.posts.append((request.content or b"").decode())
            answer = f'{{"name": "models/veo/operations/op-{len(self.posts)}"}}'
            return Response(status=200, headers={}, content=answer.encode())
        self.hanging += 1
        try:
            await self.let_go.wait()
        finally:
            self.hanging -= 1
        raise Unanswered("no response within 30 s")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def engine(make_engine: MakeEngine, world: World) -> AsyncIterator[Engine]:
    engine = facing(make_engine(**GOOGLE), FarSide(world.reply))
    yield engine
    await engine.close()


def picture() -> str:
    """A data URI of a picture of a megabyte, unlike any other."""
    return f"data:image/png;base64,{base64.b64encode(PNG + os.urandom(MEGABYTE)).decode()}"


async def pictured(engine: Engine, count: int, **fields: object) -> list[str]:
    body = {"prompt": "a quiet sea", "model": "gen4.5"} | fields
    return [
        (
            await accept(
                engine, VideoRequest.from_json(body | {"image": picture()}), tenant="default"
            )
        ).job_id
        for _ in range(count)
    ]


async def test_a_claim_loads_no_pictures(engine: Engine) -> None:
    await pictured(engine, 16)
    verb = verb_for(What.SUBMIT, engine)
    found = await engine.database.run(
        lambda connection: claim(
            *(connection, What.SUBMIT),
            lane="runway",
            turn=Turn(),
            most=64,
            each=64,
            lease=str(uuid4()),
            seconds=30,
        )
    )

    with peak() as measured:
        items = await verb.load(found.rows)

    assert len(items) == 16
    assert measured.bytes < MOST


async def test_a_list_reads_no_pictures(engine: Engine) -> None:
    await pictured(engine, 16)

    with peak() as measured:
        listed = await engine.database.run(
            lambda on: list_jobs(on, Filter(tenant="default"), limit=50, after=None)
        )

    assert len(listed.jobs) == 16
    assert measured.bytes < MOST


async def test_the_events_of_many_jobs_read_no_pictures(engine: Engine) -> None:
    ended = await pictured(engine, 16, webhook_url="http://127.0.0.1/hook")

    with peak() as measured:
        await engine.database.run(
            lambda connection: finish(engine, connection, JobState.CANCELLED, ended)
        )

    (row,) = await engine.database.fetch("SELECT count(*) AS n FROM delivery")
    assert row["n"] == 16
    assert measured.bytes < MOST


async def test_hanging_pictures_hold_no_submit(engine: Engine, world: World) -> None:
    # Given a tenant whose 30 pictures hang, and after it one without a picture
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('hostile')")
    body = {"prompt": "a quiet sea", "model": "gemini_veo/veo3.1"}
    for number in range(30):
        link = {"image": f"https://hanging-{number}.test/a.png"}
        await accept(engine, VideoRequest.from_json(body | link), tenant="hostile")

    # When a pump submits, until it does no more by itself
    pump = Pump(verb_for(What.SUBMIT, engine), engine.database, "gemini_veo", seconds=600)
    running = asyncio.create_task(pump.run())
    await until(lambda: running.done() or world.hanging > 0, within=60)
    most = world.hanging
    world.let_go.set()
    running.cancel()
    await asyncio.wait({running})

    # Then it has not waited for any of them
    assert most == 0
