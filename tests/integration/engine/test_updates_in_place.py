"""Rows that an operation's end changes add no entries to their indexes: the updates are HOT."""

from typing import Any

import pytest

from models.database import Connection
from models.verbs import What
from tasks.outcomes.sources import write_sources
from tests.integration.conftest import MakeEngine
from tests.integration.engine.house import House, ask, run

pytestmark = pytest.mark.anyio


async def test_an_end_leaves_the_indexes_of_outputs_alone(make_engine: MakeEngine) -> None:
    # Given operations of one batch, whose rows lie side by side
    engine = House(make_engine).start()
    for _ in range(40):
        await ask(engine, model="gen4.5")
    while await engine.database.fetch("SELECT id FROM due WHERE what = 'submit'"):
        await run(engine, What.SUBMIT)
    outputs = [row["id"] for row in await engine.database.fetch("SELECT id FROM output")]
    links = {output: {"url": f"https://videos.example.com/{output}.mp4"} for output in outputs}

    # When all end in one transaction
    async def end(connection: Connection) -> tuple[int, int]:
        updated, in_place = await _updates(connection)
        await write_sources(engine, connection, links)
        updated_after, in_place_after = await _updates(connection)
        return updated_after - updated, in_place_after - in_place

    # Then rows were updated in place, but for the last of a page, which find no room
    updated, in_place = await engine.database.run(end)
    assert updated == 40
    assert in_place > 30


async def _updates(connection: Connection) -> tuple[int, int]:
    """Updates of outputs by this session, and how many of them were HOT."""
    cursor = await connection.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'output'"
    )
    row: Any = await cursor.fetchone()
    return row["n_tup_upd"], row["n_tup_hot_upd"]
