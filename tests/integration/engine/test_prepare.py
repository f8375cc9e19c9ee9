"""Pictures behind links are fetched in a step of their own, which keeps no submit waiting."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from models.database import Connection
from models.gate import GateRequest
from models.high_water import park
from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from tasks import gates
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import CANCELLED, finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said
from tests.integration.engine.lock_order import LockOrder
from tests.integration.engine.waiting import until
from transport.base import Blocked, NotSent, Request, Response, TooLarge, Unanswered

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n and so on"
INLINE = b64encode(PNG).decode()
LINK = "https://pictures.test/a.png?signature=secret"
PICTURE = Response(status=200, headers={"content-type": "image/png"}, content=PNG)
GOOGLE = {"GEMINI_API_KEY": "key-for-tests", "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9"}
LANE = "gemini_veo"
MODEL = "gemini_veo/veo3.1"


@dataclass(slots=True)
class World:
    """Whoever serves pictures, and a vendor that takes no links."""

    #: What a link leads to, by its host; else to a picture.
    pictures: dict[str, Response | Exception] = field(default_factory=dict)
    #: The vendor's refusal of submits, by the end of the path; else it accepts.
    refuses: str | None = None
    fetched: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    #: How many wait for a host that hangs, and how to end that.
    hanging: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self, request: Request) -> Response:
        if request.method == "POST":
            self.posts.append((request.content or b"").decode())
            if self.refuses and self.refuses in request.url:
                return said(400, {"error": "no"})
            number = len(self.posts)
            return said(200, {"name": f"models/veo/operations/op-{number}", "id": f"op-{number}"})
        self.fetched.append(request.url)
        host = request.url.split("/")[2]
        if host.startswith("hanging"):
            await self._hang()
        answer = self.pictures.get(host, PICTURE)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _hang(self) -> None:
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
    """Its transactions keep the order of locks, and leave every invariant true."""
    engine, watcher = facing(make_engine(**GOOGLE), FarSide(world.reply)), make_engine()
    order = LockOrder(watcher.database)
    order.watch(engine.database)
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()
    await watcher.close()
    assert order.faults == []
    assert order.watched


async def submitted(engine: Engine, *, tenant: str = "default", **fields: Any) -> str:
    body = {"prompt": "a quiet sea", "model": MODEL, "image": LINK} | fields
    return (await accept(engine, VideoRequest.from_json(body), tenant=tenant)).job_id


async def run(engine: Engine, *kinds: What, lane: str | None = LANE) -> None:
    for what in kinds:
        sql = "UPDATE due SET at = now() - interval '1 s' WHERE what = %s AND at > now()"
        await engine.database.fetch(sql, (what,))
        own = None if what is What.PREPARE else lane
        await Pump(verb_for(what, engine), engine.database, own, seconds=0.05).run()


async def due(engine: Engine) -> list[tuple[str, str]]:
    """What is due of attempts, on which lane."""
    rows = await engine.database.fetch(
        "SELECT what, lane FROM due WHERE what NOT IN ('expire', 'deliver') ORDER BY id"
    )
    return [(row["what"], row["lane"]) for row in rows]


async def kept(engine: Engine) -> int:
    rows = await engine.database.fetch("SELECT count(*) AS n FROM picture")
    count: int = rows[0]["n"]
    return count


async def state_of(engine: Engine, job: str) -> tuple[str, dict[str, Any] | None]:
    (row,) = await engine.database.fetch("SELECT state, error FROM job WHERE id = %s", (job,))
    return row["state"], row["error"]


async def place(engine: Engine) -> datetime:
    (row,) = await engine.database.fetch("SELECT at FROM due WHERE what IN ('submit', 'prepare')")
    at: datetime = row["at"]
    return at


async def test_a_link_is_fetched_between_two_submits_and_kept_until_it_is_sent(
    engine: Engine, world: World
) -> None:
    # Given a job whose provider takes no links
    await submitted(engine)
    before = await place(engine)

    # When it is its turn to be submitted, then nothing is fetched
    await Pump(verb_for(What.SUBMIT, engine), engine.database, LANE, seconds=0.05).run()
    assert (world.fetched, world.posts) == ([], [])
    assert await due(engine) == [("prepare", "default")]
    assert await engine.database.run(violations) == []

    # When it is prepared, then the picture is sealed, and the job is back at its place in the queue
    await Pump(verb_for(What.PREPARE, engine), engine.database, None, seconds=0.05).run()
    assert world.fetched == [LINK]
    assert await due(engine) == [("submit", LANE)]
    assert await place(engine) == before
    (row,) = await engine.database.fetch("SELECT sealed, name, fetched FROM picture, picture_use")
    assert engine.vault.open(row["sealed"]).decode() == f"data:image/png;base64,{INLINE}"
    assert (row["name"], row["fetched"]) == ("image", True)
    assert await engine.database.run(violations) == []

    # When it is submitted, then the vendor gets the bytes, and the picture is gone
    await run(engine, What.SUBMIT)
    (post,) = world.posts
    assert INLINE in post
    assert LINK not in post
    assert await kept(engine) == 0
    assert await due(engine) == [("poll", LANE)]


BAD: dict[str, Response | Exception] = {
    "gone": Response(status=404, headers={"content-type": "image/png"}, content=b""),
    "a page": Response(status=200, headers={"content-type": "text/html"}, content=b"<html>"),
    "too large": TooLarge("response larger than 20971520 bytes"),
    "private": Blocked("the address is not public"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_link_that_leads_to_no_picture_ends_the_job_and_says_why(
    engine: Engine, world: World, what: str
) -> None:
    world.pictures["pictures.test"] = BAD[what]
    job = await submitted(engine)

    await run(engine, What.SUBMIT, What.PREPARE)

    state, error = await state_of(engine, job)
    assert state == "failed"
    assert error is not None
    assert error["code"] == "picture_unavailable"
    assert "a picture's address" in error["message"]
    assert "secret" not in error["message"]
    assert await due(engine) == []
    assert world.posts == []


@pytest.mark.parametrize(
    "trouble", [NotSent("refused"), Unanswered("no response within 30 s"), said(503, {})]
)
async def test_a_link_that_gives_no_answer_is_fetched_again_until_the_deadline(
    engine: Engine, world: World, trouble: Response | Exception
) -> None:
    # Given a link that gives no answer twice
    world.pictures["pictures.test"] = trouble
    job = await submitted(engine)
    await run(engine, What.SUBMIT, What.PREPARE, What.PREPARE)
    assert await due(engine) == [("prepare", "default")]
    told = await engine.database.fetch(
        "SELECT detail FROM event WHERE kind = 'attempt.picture_unavailable'"
    )
    assert len(told) == 1
    assert "secret" not in str(told)

    # When its deadline comes, then the job ends
    await engine.database.fetch("UPDATE job SET deadline_at = now()")
    await run(engine, What.EXPIRE, lane="-")
    state, error = await state_of(engine, job)
    assert (state, (error or {})["code"]) == ("failed", "deadline_exceeded")
    assert await due(engine) == []
    assert len(world.fetched) == 2


async def test_a_job_that_is_cancelled_during_the_fetch_keeps_no_picture(
    engine: Engine, world: World
) -> None:
    # Given two pictures, one of which is there and one of which hangs
    job = await submitted(engine, last_image="https://hanging.test/b.png")
    await run(engine, What.SUBMIT)
    pump = Pump(verb_for(What.PREPARE, engine), engine.database, None, seconds=0.05)
    running = asyncio.create_task(pump.run())
    await until(lambda: world.hanging == 1)
    assert await kept(engine) == 1

    # When the job is cancelled meanwhile
    await engine.database.run(
        lambda on: finish(engine, on, JobState.CANCELLED, [job], failures={job: CANCELLED})
    )
    world.let_go.set()
    await running

    # Then nothing of it is left
    assert await kept(engine) == 0
    assert await due(engine) == []
    assert world.posts == []


async def test_attempts_of_one_job_share_what_was_fetched(engine: Engine, world: World) -> None:
    await submitted(engine, count=3, last_image=LINK)
    await run(engine, What.SUBMIT)
    verb = verb_for(What.PREPARE, engine)
    while any(what == "prepare" for what, _ in await due(engine)):
        rows = await engine.database.fetch("SELECT id FROM due WHERE what = 'prepare' LIMIT 1")
        await engine.database.fetch(
            "UPDATE due SET at = now() + CASE WHEN id = %s THEN interval '-1 s' "
            "ELSE interval '1 h' END WHERE what = 'prepare'",
            (rows[0]["id"],),
        )
        await Pump(verb, engine.database, None, seconds=0.05).run()
    await run(engine, What.SUBMIT)

    assert world.fetched == [LINK]
    assert world.posts
    assert all(post.count(INLINE) == 2 for post in world.posts)
    assert await kept(engine) == 0


async def test_a_gate_moves_on_to_a_provider_that_takes_no_links(
    engine: Engine, world: World
) -> None:
    # Given a gate whose first model's provider takes links, and refuses the job
    body = {"name": "shop", "model": "gen4.5", "strategy": "fallback", "fallback_models": [MODEL]}
    await gates.create(engine, GateRequest.from_json(body), tenant="default")
    request = {"prompt": "a quiet sea", "gate": "shop", "image": LINK}
    await accept(engine, VideoRequest.from_json(request), tenant="default")
    world.refuses = "image_to_video"
    await run(engine, What.SUBMIT, lane="runway")
    assert await due(engine) == [("submit", LANE)]
    assert (world.fetched, len(world.posts)) == ([], 1)
    assert LINK in world.posts[0]

    # When the next is to be submitted, then the picture is fetched first
    await run(engine, What.SUBMIT, What.PREPARE, What.SUBMIT)
    assert world.fetched == [LINK]
    assert INLINE in world.posts[1]


async def test_an_attempt_that_a_restore_finds_in_preparation_is_parked(
    engine: Engine, world: World
) -> None:
    await submitted(engine)
    await run(engine, What.SUBMIT)
    assert await due(engine) == [("prepare", "default")]

    async def parked(connection: Connection) -> list[str]:
        cursor = await connection.execute("SELECT now() + interval '1 hour' AS before")
        row = await cursor.fetchone()
        assert row is not None
        return await park(connection, before=row["before"], after="", looked_up=[], most=10)

    assert len(await engine.database.run(parked)) == 1

    await Pump(verb_for(What.PREPARE, engine), engine.database, None, seconds=0.05).run()
    assert world.fetched == []
    assert await due(engine) == [("submit", LANE)]


async def test_a_tenants_hanging_pictures_keep_no_other_tenants_waiting(
    make_engine: MakeEngine, world: World
) -> None:
    # Given a tenant with 100 pictures of 100 hosts that hang, and after it one with two jobs
    engine = facing(make_engine(**GOOGLE), FarSide(world.reply))
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('hostile'), ('other')")
    for number in range(100):
        link = f"https://hanging-{number}.test/a.png"
        await submitted(engine, tenant="hostile", image=link)
    await submitted(engine, tenant="other", prompt="without a picture", image=None)
    await submitted(engine, tenant="other")

    # When a pump submits, then nothing is fetched, and the one without a picture is sent
    await Pump(verb_for(What.SUBMIT, engine), engine.database, LANE, seconds=20).run()
    assert world.fetched == []
    (first,) = world.posts
    assert "without a picture" in first

    # When a pump prepares, then the other tenant's picture is fetched beside a few that hang
    verb = verb_for(What.PREPARE, engine)
    most = verb.each
    running = asyncio.create_task(Pump(verb, engine.database, None, seconds=20).run())

    async def is_prepared() -> bool:
        return ("submit", LANE) in await due(engine)

    await until(is_prepared)
    await until(lambda: world.hanging == most)
    assert len(world.fetched) == most + 1
    await Pump(verb_for(What.SUBMIT, engine), engine.database, LANE, seconds=0.05).run()
    assert len(world.posts) == 2
    assert INLINE in world.posts[1]

    running.cancel()
    await asyncio.wait({running})
    assert json.dumps(world.fetched).count("hanging") == most
    await engine.close()
