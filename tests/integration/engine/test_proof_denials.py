"""A minute of 404s from a vendor's edge costs no job, whoever the vendor is."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from catalog.models import Catalog
from models.request import VideoRequest
from models.verbs import What
from providers.registry import PROVIDERS
from settings import Settings
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.conftest import Simulator
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, said
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

#: Looks within a minute: far more than a poll that is denied again and again makes.
LOOKS = 30


def models() -> dict[str, str]:
    """One model of each provider whose operations are polled, by the provider's name."""
    catalog = Catalog.load(Settings())
    return {
        route.provider: f"{route.provider}/{model.name}"
        for model in catalog.models()
        for route in model.routes.values()
        if route.image != "required" and not PROVIDERS[route.provider].capabilities.synchronous
    }


async def accepted(engine: Engine, model: str) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": model})
    return (await accept(engine, request, tenant="default")).job_id


async def run(engine: Engine, *kinds: What) -> None:
    """Do all that is due of these kinds, as if its time had come."""
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s' WHERE what = %s", (what,)
        )
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def states(engine: Engine) -> dict[str, tuple[str, str | None]]:
    rows = await engine.database.fetch(
        """
        SELECT DISTINCT attempt.provider, job.state, job.error ->> 'code' AS code
        FROM job JOIN attempt ON attempt.job = job.id
        """
    )
    return {row["provider"]: (row["state"], row["code"]) for row in rows}


async def deny(request: Request) -> Response:
    return said(404, {"error": "no such thing"})


@pytest.fixture
async def engine(make_engine: MakeEngine, simulator: Simulator) -> AsyncIterator[Engine]:
    engine = make_engine(**simulator.env)
    yield engine
    await engine.close()


async def test_a_minute_of_404s_fails_no_job_of_any_provider(engine: Engine) -> None:
    # Given an operation at every provider
    jobs = {name: await accepted(engine, model) for name, model in models().items()}
    await run(engine, *[What.SUBMIT] * 3)
    assert len(jobs) >= 8
    assert set(await states(engine)) == set(jobs)

    # When an edge answers 404 to whatever is asked for a minute
    astray = replace(engine, polls=FarSide(deny))
    await run(astray, *[What.POLL] * LOOKS)

    # Then every one of them, which all were made, completes
    for _ in range(60):
        await run(engine, What.POLL, What.STORE)
        if {state for state, _ in (await states(engine)).values()} <= {"complete", "failed"}:
            break
    assert await states(engine) == dict.fromkeys(jobs, ("complete", None))


async def test_denials_among_good_answers_for_others_fail_no_job_within_minutes(
    make_engine: MakeEngine,
) -> None:
    """One backend of the vendor's lags behind: it knows some operations and not others."""
    lags = True
    known: list[str] = []

    async def reply(request: Request) -> Response:
        operation = request.url.rpartition("/")[2]
        answers = answers_to(request, len(known))
        if request.method == "POST":
            known.append(f"op-{len(known)}")
        elif operation == "op-0" and lags:
            return said(404, {"error": "no such thing"})
        elif operation == "op-1" and lags:
            answer = answers["running"]
            assert isinstance(answer, Response)
            return answer
        answer = next(iter(answers.values()))
        assert isinstance(answer, Response)
        return answer

    engine = facing(make_engine(), FarSide(reply))
    for _ in range(2):
        await accepted(engine, "gen4.5")
        await run(engine, What.SUBMIT)
    await run(engine, *[What.POLL] * LOOKS)
    lags = False
    await run(engine, What.POLL, What.STORE)

    rows = await engine.database.fetch("SELECT state, error ->> 'code' AS code FROM job")
    assert [(row["state"], row["code"]) for row in rows] == [("complete", None)] * 2
    await engine.close()
