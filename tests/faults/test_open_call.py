"""A call of Layer's API that is open for six minutes, as shipped, with Node's fetch."""

from pathlib import Path

import pytest

from tests.conftest import Simulator
from tests.integration.api.test_layer_programs import NEVER, end, fetching, with_gate

pytestmark = [pytest.mark.anyio, pytest.mark.chaos]
#: Node's own timeout for headers, and when the job ends, in milliseconds.
NODES, SIX_MINUTES = "300000", "360000"


async def test_fetch_waits_for_six_minutes(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    async with (
        with_gate(database_url, tmp_path, dict(simulator.env)) as longtake,
        fetching(longtake, NEVER, patience=NODES, later=SIX_MINUTES) as program,
    ):
        first = await program.line(within=280)
        later = await program.line(within=400)
        job = await end(longtake, "complete")
        done = await program.line()

    assert first == {"status": 200, "job": job}
    assert later == {"later": True}
    assert done["answer"]["id"] == job
    assert done["answer"]["latency"] > 350_000
