"""What a job is told to expect: by its first acceptance, from what was learned by then."""

from functools import partial
from typing import Any

import pytest

from models.advance import advance_jobs
from models.database import Connection
from models.request import VideoRequest
from models.state import JobState
from providers.base import Accepted
from scheduler.durations import SAMPLES, learn
from scheduler.hazard import SHARES, Usual
from scheduler.looks import Looks
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tests.integration.conftest import MakeEngine

pytestmark = pytest.mark.anyio


async def _learned(engine: Engine, p50: float) -> None:
    await engine.database.fetch(
        """
        INSERT INTO duration (route, p10, p50, p90, samples)
        SELECT DISTINCT route, %(p50)s / 2, %(p50)s, %(p50)s * 2, 9 FROM attempt
        ON CONFLICT (route) DO UPDATE SET p10 = excluded.p10, p50 = excluded.p50
        """,
        {"p50": p50},
    )


async def _job(engine: Engine) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM job")
    return row


async def test_the_first_acceptance_tells_a_job_what_to_expect_and_later_ones_do_not(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    body = {"prompt": "a quiet sea", "model": "gen4.5", "count": 2}
    await accept(engine, VideoRequest.from_json(body), tenant="default")

    async def send(connection: Connection) -> None:
        await connection.execute(
            "UPDATE attempt SET state = 'sent', sent_at = now(), payload_hash = 'x'"
        )
        (job,) = await (await connection.execute("SELECT id FROM job")).fetchall()
        await advance_jobs(connection, JobState.SUBMITTING, [job["id"]])

    await engine.database.run(send)
    first, second = await engine.database.fetch("SELECT id FROM attempt ORDER BY id")

    await _learned(engine, 33.0)
    await record_accepted(engine, first["id"], Accepted(operation_id="op-1"))
    told = await _job(engine)
    assert (told["typical_seconds"], told["progress_source"]) == (33.0, "reported")

    # Polls of the second begin by what is known now; the job's own estimate stays.
    await _learned(engine, 4000.0)
    await record_accepted(engine, second["id"], Accepted(operation_id="op-2"))
    assert (await _job(engine))["typical_seconds"] == 33.0
    (due,) = await engine.database.fetch(
        "SELECT extract(epoch FROM at - now()) AS wait FROM due WHERE what = 'poll' AND id = %s",
        (second["id"],),
    )
    assert due["wait"] > 600
    await engine.close()


async def _succeeded(engine: Engine, route: str, seconds: float, *, count: int, ago: float) -> None:
    """Attempts of a route that took so long, the newest so many days ago."""
    await engine.database.fetch(
        """
        INSERT INTO attempt (id, job, provider, account, route, state, marker, accepted_at,
                             finished_at)
        SELECT 'att' || %(ago)s::float8 || %(route)s || n, (SELECT id FROM job), 'runway',
               'runway', %(route)s, 'succeeded', 'm' || %(ago)s::float8 || %(route)s || n,
               at - %(seconds)s * interval '1 second', at
        FROM generate_series(1, %(count)s) AS n, LATERAL (
            SELECT now() - %(ago)s * interval '1 day' - n * interval '1 minute' AS at) AS ended
        """,
        {"route": route, "seconds": seconds, "count": count, "ago": ago},
    )


async def test_each_route_is_learned_from_its_newest_successes(make_engine: MakeEngine) -> None:
    engine = make_engine()
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
    await accept(engine, request, tenant="default")
    await _succeeded(engine, "a", 30, count=SAMPLES, ago=1)
    await _succeeded(engine, "a", 900, count=50, ago=3)  # older than the newest 200
    await _succeeded(engine, "b", 60, count=5, ago=1)
    await _succeeded(engine, "b", 900, count=5, ago=8)  # too old
    await _succeeded(engine, "few", 60, count=4, ago=1)

    assert await engine.database.run(learn) == 2

    found = await engine.database.fetch(
        "SELECT route, p10, p50, p90, samples FROM duration ORDER BY route"
    )
    assert [tuple(row.values()) for row in found] == [
        ("a", 30, 30, 30, SAMPLES),
        ("b", 60, 60, 60, 5),
    ]
    await engine.close()


async def test_a_distribution_is_found_from_looks_and_only_from_news(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
    await accept(engine, request, tenant="default")
    # Given operations that waited in a queue, ran for less than 30 s and were seen 2 s before that
    await _succeeded(engine, "v/m/5s", 300, count=100, ago=1)
    await engine.database.fetch(
        """
        UPDATE attempt SET running_at = finished_at - interval '30 s',
                           seen_at = finished_at - interval '2 s' WHERE state = 'succeeded'
        """
    )

    usual = {"v/m": Usual(40, 60, 90)}
    await engine.database.run(partial(learn, usual=usual))
    first = await _knots(engine)

    # Then by the clock that polls go by, half have ended between the looks
    middle = first["knots"][SHARES.index(0.5)]
    assert 27.0 < middle < 31.0

    # And nothing is computed again without news
    await engine.database.run(partial(learn, usual=usual))
    assert await _knots(engine) == first
    await _succeeded(engine, "v/m/5s", 10, count=100, ago=0)
    await engine.database.fetch("UPDATE duration SET fitted_at = now() - interval '3 hours'")
    await engine.database.run(partial(learn, usual=usual))
    assert (await _knots(engine))["knots"][SHARES.index(0.5)] < middle

    # And a process goes by what was learned
    known = Looks()
    await known.refresh(engine.database, now=0.0)
    wait = known.wait(
        lane="v", route="v/m/5s", elapsed=0.0, floor=2.0, ceiling=30.0, now=0.0, dice=0.5
    )
    assert wait > 2.0
    await engine.close()


async def _knots(engine: Engine) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT knots, fitted_at FROM duration")
    return row
