"""Money is spent once: what a provider really does to the POST, at the socket, decides."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from models.database import Connection, Database
from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from scheduler.claim import Turn, claim
from scheduler.pace import Pace
from stack.servers.postgres import EmbeddedPostgres
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.pump.writer import Tally
from tasks.verbs.submit import Submit
from tasks.verbs.verb import Hold
from tests.integration.conftest import MakeEngine
from tests.integration.engine.test_pump import away
from tests.unit.transport.raw_server import Behaviour, RawServer
from transport.base import Request, Response
from transport.exact import ExactClient

pytestmark = pytest.mark.anyio

TAKEN = json.dumps({"id": "task-1"}).encode()


@dataclass(frozen=True, slots=True)
class Impatient:
    """The exact client, but waiting for an answer takes a moment instead of a minute."""

    client: ExactClient

    async def send(self, request: Request) -> Response:
        return await self.client.send(replace(request, timeout=0.3))

    def stream(self, request: Request) -> Any:
        return self.client.stream(request)

    async def close(self) -> None:
        await self.client.close()


class Upstream(RawServer):
    """A provider that can be told to hold its answer back."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    def held(self, then: Behaviour) -> Behaviour:
        async def behave(writer: asyncio.StreamWriter) -> None:
            await self.go_on.wait()
            await then(writer)

        return behave

    @property
    def posts(self) -> int:
        return sum(request.startswith(b"POST ") for request in self.requests)


@pytest.fixture
async def upstream(anyio_backend: str) -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.open()
    yield upstream
    upstream.go_on.set()
    await upstream.close()


@pytest.fixture
async def engine(make_engine: MakeEngine, upstream: Upstream) -> AsyncIterator[Engine]:
    engine = make_engine(RUNWAYML_BASE_URL=f"http://127.0.0.1:{upstream.port}")
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def submitted(engine: Engine, **fields: Any) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5", **fields})
    return (await accept(engine, request, tenant="default")).job_id


async def pump(engine: Engine, what: What = What.SUBMIT, *, lane: str = "runway") -> Tally:
    """One short run, as if everything's time had come."""
    await engine.database.fetch("UPDATE due SET at = now() - interval '1 s' WHERE what <> 'expire'")
    return await Pump(verb_for(what, engine), engine.database, lane, seconds=0.2).run()


async def attempts_of(engine: Engine, job: str) -> list[dict[str, Any]]:
    return await engine.database.fetch("SELECT * FROM attempt WHERE job = %s ORDER BY id", (job,))


async def job_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM job WHERE id = %s", (job,))
    return row


async def cancel(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


# -- nobody knows whether it was taken ------------------------------------------------------------

IN_DOUBT = {
    "the connection closes": lambda upstream: upstream.drop(),
    "the connection is reset": lambda upstream: upstream.reset(),
    "no answer comes": lambda upstream: upstream.stay_silent(),
    "HTTP 500": lambda upstream: upstream.answer(status="500 Oh"),
    "HTTP 502": lambda upstream: upstream.answer(status="502 Oh", body=b"<html>"),
    "HTTP 504": lambda upstream: upstream.answer(status="504 Oh"),
    "HTTP 302": lambda upstream: upstream.answer(status="302 Found", headers="Location: /a\r\n"),
    "not HTTP": lambda upstream: upstream.say(b"\x89garbage\r\n\r\n", then_close=True),
    "not JSON": lambda upstream: upstream.answer(b"<taken>"),
    "no id": lambda upstream: upstream.answer(b'{"ok": true}'),
    "half an answer": lambda upstream: upstream.say(
        b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"id":', then_close=True
    ),
}


@pytest.mark.parametrize("what_happens", IN_DOUBT)
async def test_what_may_have_been_taken_is_never_sent_again(
    engine: Engine, upstream: Upstream, what_happens: str
) -> None:
    # Given a provider that reads the POST, and then this happens
    impatient = replace(engine, exact=Impatient(ExactClient()))
    upstream.behave = IN_DOUBT[what_happens](upstream)
    job = await submitted(engine)
    await pump(impatient)

    # When it works again, and everything that is due is done again
    upstream.behave = upstream.answer(TAKEN)
    await pump(impatient)

    # Then it saw one POST, the attempt is unknown, and the job says that money may have been spent
    assert upstream.posts == 1
    (attempt,) = await attempts_of(engine, job)
    assert attempt["state"] == "unknown"
    ended = await job_of(engine, job)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "submit_unknown")
    assert ended["cost_micros"] == 0
    (told,) = await engine.database.fetch("SELECT detail FROM event WHERE kind = 'attempt.unknown'")
    assert told["detail"]["attempt"] == attempt["id"]


async def test_whoever_prefers_paying_twice_to_no_video_gets_another_attempt(
    engine: Engine, upstream: Upstream
) -> None:
    upstream.behave = upstream.drop()
    job = await submitted(engine, unknown_policy="at_least_once")
    await pump(engine)
    first, second = await attempts_of(engine, job)
    assert (first["state"], second["state"]) == ("unknown", "planned")
    assert first["marker"] != second["marker"]

    upstream.behave = upstream.answer(TAKEN)
    await pump(engine)

    first, second = await attempts_of(engine, job)
    assert (first["state"], second["state"]) == ("unknown", "accepted")
    assert (await job_of(engine, job))["state"] == "processing"
    assert upstream.posts == 2


# -- it was surely not taken ----------------------------------------------------------------------


async def test_a_connection_that_is_refused_is_tried_again_later(
    engine: Engine, upstream: Upstream
) -> None:
    # Given a provider that is not there
    port = upstream.port
    await upstream.close()
    job = await submitted(engine)
    await pump(engine)
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["sent_at"]) == ("planned", None)
    assert attempt["rejections"] >= 1
    assert (await job_of(engine, job))["state"] == "submitting"

    # When it comes back
    back = RawServer()
    await back.open(port=port)
    back.behave = back.answer(TAKEN)
    await pump(engine)
    await back.close()

    # Then it is paid, once
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "task-1")
    assert len(back.requests) == 1


@pytest.mark.parametrize("status", ["429 Slow Down", "503 Shedding Load"])
async def test_a_documented_refusal_is_tried_again_when_the_provider_wants_it(
    engine: Engine, upstream: Upstream, status: str
) -> None:
    upstream.behave = upstream.answer(b"{}", status=status, headers="Retry-After: 30\r\n")
    job = await submitted(engine)
    await pump(engine)

    (due,) = await engine.database.fetch(
        "SELECT extract(epoch FROM at - now())::float8 AS wait, lease FROM due "
        "WHERE what = 'submit'"
    )
    # After a 429 its lane waits, and it keeps its place
    assert due["wait"] < 0 if status.startswith("429") else 20 < due["wait"] <= 31
    assert due["lease"] is None
    upstream.behave = upstream.answer(TAKEN)
    await pump(engine)
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["rejections"]) == ("accepted", 1)
    assert upstream.posts == 2


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hailuo-2.3", {"base_resp": {"status_code": 2013, "status_msg": "%s"}}),
        ("minimax-h3", {"error": {"type": "bad_request_error", "message": "%s (2013)"}}),
    ],
)
async def test_a_public_address_that_a_vendor_can_not_reach_costs_no_job(
    make_engine: MakeEngine, upstream: Upstream, model: str, said: dict[str, Any]
) -> None:
    # Given a vendor that calls our address while its submit is open, and hears nothing
    engine = make_engine(
        MINIMAX_API_KEY="key_for_tests_of_the_engine",
        MINIMAX_BASE_URL=f"http://127.0.0.1:{upstream.port}",
        LONGTAKE_PUBLIC_URL="https://videos.test",
    )
    words = json.dumps(said) % "invalid params, fail to check callback url"
    status = "200 OK" if "base_resp" in said else "400 Bad Request"
    upstream.behave = upstream.answer(words.encode(), status=status)
    job = await submitted(engine, model=model)
    (attempt,) = await attempts_of(engine, job)
    await pump(engine, lane=attempt["account"])
    # When the attempt is sent again
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["rejections"]) == ("planned", 1)
    taken = {"task_id": "77", "base_resp": {"status_code": 0, "status_msg": "success"}}
    upstream.behave = upstream.answer(json.dumps(taken).encode())
    await pump(engine, lane=attempt["account"])
    # Then it is without the address, and taken
    first, second = (request for request in upstream.requests if request.startswith(b"POST "))
    assert f"https://videos.test/callbacks/{attempt['provider']}/{attempt['marker']}" in str(first)
    assert b"callback_url" not in second
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "77")
    await engine.close()


async def test_a_request_that_the_provider_refuses_ends_the_job(
    engine: Engine, upstream: Upstream
) -> None:
    upstream.behave = upstream.answer(b'{"error": "ratio is odd"}', status="400 Bad Request")
    job = await submitted(engine)
    await pump(engine)
    await pump(engine)

    assert upstream.posts == 1
    ended = await job_of(engine, job)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "provider_refused")
    assert ended["error"]["message"] == "Runway answered HTTP 400: ratio is odd"


# -- answers that come late -----------------------------------------------------------------------


@asynccontextmanager
async def post_under_way(engine: Engine, upstream: Upstream) -> AsyncIterator[asyncio.Task[Tally]]:
    """A pump whose POST the provider has read and not answered; it does so after the block."""
    upstream.behave = upstream.held(upstream.answer(TAKEN))
    running = asyncio.create_task(pump(engine))
    await upstream.has_read(1)
    yield running
    upstream.go_on.set()
    async with asyncio.timeout(10):
        await running


async def test_an_operation_accepted_after_its_job_was_cancelled_is_cancelled_upstream(
    engine: Engine, upstream: Upstream
) -> None:
    job = await submitted(engine)
    async with post_under_way(engine, upstream):
        await cancel(engine, job)

    # The id is evidence, whatever has become of the job
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "task-1")
    assert (await job_of(engine, job))["state"] == "cancelled"

    upstream.behave = upstream.answer(b"", status="204 No Content")
    await pump(engine, What.CANCEL)
    assert upstream.requests[-1].startswith(b"DELETE /v1/tasks/task-1 ")
    (attempt,) = await attempts_of(engine, job)
    assert attempt["state"] == "cancelled"
    assert upstream.posts == 1


async def test_a_refusal_after_the_job_was_cancelled_releases_the_attempt(
    engine: Engine, upstream: Upstream
) -> None:
    job = await submitted(engine)
    upstream.behave = upstream.held(upstream.answer(b"{}", status="429 Slow Down"))
    running = asyncio.create_task(pump(engine))
    await upstream.has_read(1)
    await cancel(engine, job)
    upstream.go_on.set()
    await running
    await pump(engine)

    assert upstream.posts == 1
    assert [attempt["state"] for attempt in await attempts_of(engine, job)] == ["cancelled"]


async def test_a_lease_that_ends_during_the_post_leads_to_no_second_one(
    engine: Engine, upstream: Upstream
) -> None:
    """The first worker may be dead; the one that finds the row asks nobody for money."""
    job = await submitted(engine)
    async with post_under_way(engine, upstream) as first:
        # It may also live: others wait for as long as its POST may take
        await asyncio.wait({first}, timeout=1.5)
        await pump(engine)
        (attempt,) = await attempts_of(engine, job)
        assert attempt["state"] == "sent"

        # Then nobody will ever know
        await engine.database.fetch(
            "UPDATE attempt SET sent_at = sent_at - interval '1 hour', "
            "answer_by = answer_by - interval '1 hour'"
        )
        await pump(engine)
        (attempt,) = await attempts_of(engine, job)
        assert attempt["state"] == "unknown"
        assert (await job_of(engine, job))["error"]["code"] == "submit_unknown"

    # The first one lived: what it learned is kept, and the operation is stopped
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "task-1")
    assert await engine.database.fetch("SELECT 1 FROM due WHERE what = 'cancel'")
    assert upstream.posts == 1


async def test_an_answer_that_comes_while_the_database_is_away_is_not_lost(
    engine: Engine,
    upstream: Upstream,
    database_url: str,
    postgres_server: EmbeddedPostgres,
) -> None:
    # Given a worker that soon finds the database out of reach
    impatient = replace(engine, database=Database(database_url, timeout=0.1))
    job = await submitted(engine)
    upstream.behave = upstream.held(upstream.answer(TAKEN))
    running = asyncio.create_task(pump(impatient))
    await upstream.has_read(1)

    # When the answer comes while it is away, for longer than a transaction is tried
    async with away(postgres_server, database_url):
        upstream.go_on.set()
        await upstream.is_left()
        await asyncio.wait({running}, timeout=4)
    await asyncio.wait({running}, timeout=20)
    await impatient.database.close()

    # Then the operation that was paid for is known
    if running.done():
        running.exception()
    (attempt,) = await attempts_of(engine, job)
    assert (attempt["state"], attempt["operation_id"]) == ("accepted", "task-1")


async def test_a_worker_without_credentials_that_wakes_late_disturbs_nobody(
    make_engine: MakeEngine, engine: Engine, upstream: Upstream, tmp_path: Path
) -> None:
    """It would put the attempt off, but by now another worker is sending it."""
    # Given a worker that has no account, and slept past its lease with the attempt in its hands
    bare = make_engine(RUNWAYML_API_SECRET="")
    job = await submitted(engine)
    sleeper, lease = Submit(engine=bare), str(uuid4())

    async def work(connection: Connection) -> Any:
        return await claim(
            *(connection, What.SUBMIT), lane="runway", turn=Turn(), most=1, each=1, lease=lease,
            seconds=30,
        )  # fmt: skip

    claimed = await bare.database.run(work)
    (item,) = await sleeper.load(claimed.rows)

    # When it wakes while another worker's POST is under way
    async with post_under_way(engine, upstream):
        await sleeper.act(item, Hold(lease, Pace(1)))

        # Then the attempt is still sent, and nobody sends it again
        (attempt,) = await attempts_of(engine, job)
        assert attempt["state"] == "sent"
        assert (await pump(engine)).claimed <= 1
        assert upstream.posts == 1
    await bare.close()
