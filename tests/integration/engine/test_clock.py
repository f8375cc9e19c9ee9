"""Hosts whose clocks are hours apart: what is due, leased or over is the database's to say."""

import time
from collections.abc import AsyncIterator

import pytest

from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

DAY = 86_400.0


async def all_well(request: Request) -> Response:
    answer = next(iter(answers_to(request, 1).values()))
    assert isinstance(answer, Response)
    return answer


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), FarSide(all_well))
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


@pytest.mark.parametrize("hours", [-48, 48])
async def test_a_worker_whose_clock_is_days_off_makes_a_job_like_any_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    # Given a host whose clock is wrong
    right = time.time
    monkeypatch.setattr("time.time", lambda: right() + hours * 3600)

    # When it accepts a job, and does everything about it
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
    job = (await accept(engine, request, tenant="default")).job_id
    for what in (What.SUBMIT, What.POLL, What.STORE):
        await engine.database.fetch("UPDATE due SET at = least(at, now()) WHERE what = %s", (what,))
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()

    # Then every time that was written is the database's, and the deadline is a day from now
    (row,) = await engine.database.fetch(
        """
        SELECT job.state, now() - interval '1 minute' < ALL (ARRAY[
                   job.created_at, job.accepted_at, job.finished_at, attempt.sent_at,
                   attempt.accepted_at, attempt.finished_at, output.stored_at]) AS not_before,
               now() >= ALL (ARRAY[
                   job.created_at, job.accepted_at, job.finished_at, attempt.sent_at,
                   attempt.accepted_at, attempt.finished_at, output.stored_at]) AS not_after,
               extract(epoch FROM job.deadline_at - now())::float8 AS left
        FROM job JOIN attempt ON attempt.job = job.id JOIN output ON output.job = job.id
        WHERE job.id = %s
        """,
        (job,),
    )
    assert row["state"] == "complete"
    assert row["not_before"]
    assert row["not_after"]
    assert DAY - 60 < row["left"] <= DAY
