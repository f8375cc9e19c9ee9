"""Evidence and time that come while a gate's next attempt is on its way."""

from collections.abc import AsyncIterator

import pytest

from models.verbs import What
from providers.base import Accepted, Phase, Update, Video
from tasks.engine import Engine
from tasks.outcomes.accepted import record_accepted
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, kind_of, said
from tests.integration.engine.gated import (
    AWAY,
    LIFE,
    REFUSALS,
    RUNWAY,
    Vendors,
    attempts,
    gated,
    hops,
    run,
    submitted,
    view_of,
)
from transport.base import Request, Response, Unanswered

pytestmark = pytest.mark.anyio


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
async def engine(
    make_engine: MakeEngine, vendors: Vendors, anyio_backend: str
) -> AsyncIterator[Engine]:
    async with gated(make_engine, vendors) as engine:
        yield engine


def meddled(
    engine: Engine, vendors: Vendors, attempt: str, accepted: Accepted, lane: str
) -> Engine:
    """The engine, where evidence of `attempt` comes while a submit of the lane is on its way."""

    async def reply(request: Request) -> Response:
        is_luma = "/generations" in request.url
        if kind_of(request) == "submit" and is_luma == (lane == "luma_agents"):
            await record_accepted(engine, attempt, accepted)
        return await vendors.reply(request)

    return facing(engine, FarSide(reply))


async def first_of(engine: Engine) -> str:
    (first, *_) = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")
    return str(first["id"])


RUNNING = Accepted(operation_id="op-late")
MADE = Accepted(
    operation_id="op-late",
    update=Update(phase=Phase.SUCCEEDED, videos=(Video(url="https://links.test/film.mp4"),)),
)


@pytest.mark.parametrize("refusal", [said(400, {"detail": "no"}), AWAY], ids=["refused", "away"])
async def test_what_the_next_attempt_does_not_make_the_first_operation_makes(
    engine: Engine, vendors: Vendors, refusal: Response | Exception
) -> None:
    vendors.submit = REFUSALS["the request is refused"]
    job = await submitted(engine)
    await run(engine, What.SUBMIT, lane="runway")
    # Given the hop's POST, which fails after the first operation came to light
    vendors.luma_first = refusal
    await run(meddled(engine, vendors, await first_of(engine), RUNNING, "luma_agents"), What.SUBMIT)
    await run(engine, *LIFE, What.CANCEL)

    assert vendors.posts == ["runway", "luma"]  # none after that
    assert (await attempts(engine, job))[0] == ("runway", "succeeded")
    view = await view_of(engine, job)
    assert (view["status"], view["cost_usd"]) == ("complete", RUNWAY / 1e6)


@pytest.mark.parametrize("accepted", [RUNNING, MADE], ids=["running", "made"])
async def test_a_repeat_that_is_refused_gives_its_video_back(
    engine: Engine, vendors: Vendors, accepted: Accepted
) -> None:
    vendors.submit = Unanswered("no answer")
    job = await submitted(engine, unknown_policy="at_least_once")
    await run(engine, What.SUBMIT)
    vendors.submit = REFUSALS["the request is refused"]
    await run(meddled(engine, vendors, await first_of(engine), accepted, "runway"), What.SUBMIT)
    await run(engine, *LIFE, What.CANCEL)

    assert vendors.posts == ["runway", "runway"]
    assert await attempts(engine, job) == [("runway", "succeeded"), ("runway", "refused")]
    assert (await view_of(engine, job))["status"] == "complete"


async def test_hops_of_one_batch_stay_within_the_maximum_together(
    engine: Engine, vendors: Vendors
) -> None:
    vendors.fails = {"failureCode": "INTERNAL", "cost": {"credits": 40}}
    job = await submitted(engine, count=2, max_cost_usd=1.2)
    await run(engine, What.SUBMIT, What.POLL, *LIFE)

    # Two failures at $0.40 leave room for one of Luma's videos at $0.30
    assert vendors.posts.count("luma") == len(await hops(engine, job)) == 1


@pytest.mark.parametrize("column", ["deadline_at", "start_by"])
async def test_nothing_is_sent_for_a_job_that_has_run_out_of_time(
    engine: Engine, vendors: Vendors, column: str
) -> None:
    """The workers were away meanwhile: the submit and the job's end are due at once."""
    job = await submitted(engine, model="gen4.5", start_within_seconds=60)
    await engine.database.fetch(f"UPDATE job SET {column} = now() - interval '1 s'")  # noqa: S608
    await run(engine, What.SUBMIT, What.EXPIRE, *LIFE)

    assert vendors.posts == []
    view = await view_of(engine, job)
    assert (view["status"], view["cost_usd"]) == ("failed", 0)
