"""What is parked is told of once, and tried again until its own end."""

from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from models.database import Connection
from models.due import parked
from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import finish
from tasks.pump.pump import POISON_TRIES, Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of
from transport.base import Request, Response

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


async def reply(request: Request) -> Response:
    """All goes well, but that operations go on running and can't be cancelled."""
    answers = answers_to(request, 1)
    word = {"poll": "running", "cancel": "broken", "submit": "accepted", "deliver": "taken"}
    answer = answers[word[kind_of(request)]]
    assert isinstance(answer, Response)
    return answer


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), FarSide(reply))
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def submitted(engine: Engine) -> str:
    request = VideoRequest.from_json(
        {"prompt": "a quiet sea", "model": "gen4.5", "webhook_url": "http://127.0.0.1/hook"}
    )
    return (await accept(engine, request, tenant="default")).job_id


async def run(engine: Engine, what: What) -> None:
    await engine.database.fetch(
        "UPDATE due SET at = now() - interval '1 s' WHERE what = %s", (what,)
    )
    await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def park(engine: Engine, what: What) -> None:
    """One more worker has died with a row of this kind alone in its hands."""
    await engine.database.fetch("UPDATE due SET tries = %s WHERE what = %s", (POISON_TRIES, what))
    await run(engine, what)


async def cancelled(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


async def due_kinds(engine: Engine) -> set[str]:
    return {row["what"] for row in await engine.database.fetch("SELECT what FROM due")}


async def test_its_job_is_told_once_however_often_it_is_parked(engine: Engine) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    for _ in range(3):
        await park(engine, What.POLL)

    told = await engine.database.fetch(
        "SELECT detail FROM event WHERE kind = 'work.set_aside' AND job = %s", (job,)
    )
    (attempt,) = await engine.database.fetch("SELECT id FROM attempt")
    expected = {"what": "poll", "id": attempt["id"], "reason": "no_answer"}
    assert [row["detail"] for row in told] == [expected]
    (listed,) = await engine.database.run(parked)
    assert (listed.what, listed.id) == ("poll", attempt["id"])
    assert listed.wait > 15 * 60

    # Once it is done, the slate is clean
    await run(engine, What.POLL)
    assert await engine.database.run(parked) == []


async def test_a_deadline_ends_the_job_of_what_is_parked(engine: Engine) -> None:
    await submitted(engine)
    await park(engine, What.SUBMIT)
    await engine.database.fetch("UPDATE job SET deadline_at = now()")
    await run(engine, What.EXPIRE)

    (job,) = await engine.database.fetch("SELECT state, error ->> 'code' AS code FROM job")
    assert (job["state"], job["code"]) == ("failed", "deadline_exceeded")
    assert await due_kinds(engine) == {"deliver"}


async def test_a_parked_delivery_is_exhausted_when_its_schedule_would_have_ended(
    engine: Engine,
) -> None:
    await cancelled(engine, await submitted(engine))
    await park(engine, What.DELIVER)
    assert await due_kinds(engine) == {"deliver"}

    await engine.database.fetch("UPDATE delivery SET created_at = now() - interval '84 hours'")
    await park(engine, What.DELIVER)
    assert await due_kinds(engine) == set()
    (delivery,) = await engine.database.fetch("SELECT state FROM delivery")
    assert delivery["state"] == "exhausted"


async def test_a_parked_cancel_and_then_poll_end_two_days_after_the_acceptance(
    engine: Engine,
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await cancelled(engine, job)
    await run(engine, What.DELIVER)
    await park(engine, What.CANCEL)
    assert await due_kinds(engine) == {"cancel"}

    await engine.database.fetch("UPDATE attempt SET accepted_at = now() - interval '48 hours'")
    await park(engine, What.CANCEL)
    assert await due_kinds(engine) == {"poll"}
    await park(engine, What.POLL)
    assert await due_kinds(engine) == set()
    (attempt,) = await engine.database.fetch("SELECT state, error FROM attempt")
    assert (attempt["state"], attempt["error"]["code"]) == ("failed", "operation_abandoned")


async def test_a_parked_look_up_of_a_job_that_has_ended_is_left_to_the_operator_at_last(
    engine: Engine,
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    # Given an attempt without an answer, which is looked up
    await engine.database.fetch(
        "UPDATE attempt SET state = 'unknown', operation_id = NULL, accepted_at = NULL"
    )
    await engine.database.fetch("UPDATE due SET what = 'look_up' WHERE what = 'poll'")
    await cancelled(engine, job)
    await run(engine, What.DELIVER)
    await park(engine, What.LOOK_UP)
    assert await due_kinds(engine) == {"look_up"}

    await engine.database.fetch("UPDATE attempt SET sent_at = now() - interval '48 hours'")
    await park(engine, What.LOOK_UP)
    assert await due_kinds(engine) == set()
    (attempt,) = await engine.database.fetch("SELECT state FROM attempt")
    assert attempt["state"] == "unknown"
