"""The page of workers: for operators, with what workers answer and what the database holds."""

from datetime import UTC, datetime

import pytest

from models.keys import create_key
from tasks.workers import Roll, RollCall, read_held
from tests.integration.api.browsing import Browser, signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import told
from tests.unit.tasks.test_workers import worker

pytestmark = pytest.mark.anyio
HELD = "UPDATE due SET lease = gen_random_uuid(), at = now() + interval '30 seconds'"


async def operator(api: Api) -> Browser:
    await api.front.engine.database.run(
        lambda connection: create_key(connection, "ops", is_admin=True)
    )
    return await signed_in(api, "ops", is_admin=True)


async def shown(api: Api, browser: Browser, roll: Roll) -> str:
    api.front.roll_call = RollCall(ask=lambda: roll)
    return " ".join(told((await browser.open("/ui/workers")).text).split())


async def test_who_answers_is_shown_and_which_queue_nobody_serves(api: Api) -> None:
    browser, now = await operator(api), datetime.now(UTC)

    one = await shown(
        *(api, browser), Roll(at=now, workers=[worker("poll")], messages={"poll": 3, "submit": 0})
    )
    none = await shown(api, browser, Roll(at=now))
    old = await shown(api, browser, Roll(at=now, silent=["old@host"]))
    away = await shown(api, browser, Roll(at=now, failure="the broker does not answer"))

    assert "main@host poll 8 12 1 min 30 s" in one
    assert "No worker that answered takes messages of" in one
    assert "poll 3" in one
    assert "No worker answered" in none
    assert "No worker answered" not in old
    assert "old@host" in old
    assert "Nobody could be called: the broker does not answer" in away


async def test_it_shows_claims_in_force_to_operators_alone(api: Api) -> None:
    await api.submit()
    await api.fetch(HELD)
    tenant = await signed_in(api)

    held = await read_held(api.front.engine)

    assert held.connections >= 1
    assert held.schema == api.front.revision
    assert sum(each.rows for each in held.pumps) >= 1
    assert all(each.pumps >= 1 for each in held.pumps)
    text = await shown(api, await operator(api), Roll(at=datetime.now(UTC)))
    assert "Claims in force" in text
    assert "Nothing is being worked on" not in text
    assert (await tenant.get("/ui/workers")).status_code == 403
