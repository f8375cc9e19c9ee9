"""What a job is told to expect: by its first acceptance, from what was learned by then."""

from typing import Any

import pytest

from models.advance import advance_jobs
from models.database import Connection
from models.request import VideoRequest
from models.state import JobState
from providers.base import Accepted
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
    assert due["wait"] > 1900
    await engine.close()
