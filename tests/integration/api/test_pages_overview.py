"""The overview: numbers that are a tenant's own, and what operators see beside them."""

import pytest

from models.keys import create_key
from tasks import overview
from tests.integration.api.browsing import signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import told

pytestmark = pytest.mark.anyio
ENDED = """
UPDATE job SET state = %s, finished_at = now() - %s * interval '1 hour', created_at = now()
    - (%s + 1) * interval '1 hour', cost_micros = %s, error = NULL WHERE id = %s
"""


async def test_the_numbers_are_those_of_the_tenants_last_day(api: Api) -> None:
    jobs = [(await api.submit())["id"] for _ in range(5)]
    for job, state, hours in zip(jobs, ("complete", "complete", "failed"), (0, 2, 2), strict=False):
        await api.fetch(ENDED, state, hours, hours, 600_000, job)
    await api.new_key("globex")

    seen = await overview.read(api.front.engine, tenant="acme")
    other = await overview.read(api.front.engine, tenant="globex")
    every = await overview.read(api.front.engine, tenant=None)

    assert (seen.ended["complete"], seen.ended["failed"]) == (2, 1)
    assert seen.unfinished["pending"] == 2
    assert seen.success_rate == 2 / 3
    assert [(each.complete, each.failed) for each in seen.parts if each.complete] == [
        *((1, 1), (1, 0)),
    ]
    assert len(seen.parts) == 24
    assert seen.parts[-1].complete == 1
    assert seen.took == pytest.approx((3600.0, 3600.0))
    assert sum(other.ended.values()) == 0
    assert (other.took, other.success_rate) == (None, None)
    assert every.ended == seen.ended


async def test_the_page_shows_lanes_and_accounts_to_operators_alone(api: Api) -> None:
    job = (await api.submit())["id"]
    await api.fetch("UPDATE attempt SET state = 'unknown', sent_at = now() WHERE job = %s", job)
    await api.front.engine.database.run(
        lambda connection: create_key(connection, "globex", is_admin=True)
    )
    own = await (await signed_in(api)).open("/ui/overview")
    admin = await (await signed_in(api, "globex", is_admin=True)).open("/ui/overview")
    of_one = await (await signed_in(api, "globex", is_admin=True)).open(
        "/ui/overview?tenant=globex"
    )

    assert "Unknown attempts" in told(own.text)
    assert "at risk" in told(own.text)
    for heading in ("Due work", "Providers"):
        assert heading not in told(own.text)
        assert heading in told(admin.text)
    assert "Unknown attempts" in told(admin.text)
    assert "Unknown attempts" not in told(of_one.text)


async def test_of_many_budgets_the_fullest_are_shown(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.new_key("globex")
    for subject, limit in (("empty", 10), ("full", 100), ("closed", 0)):
        await api.fetch(
            "INSERT INTO budget (id, tenant, scope, subject, period, limit_micros) "
            "VALUES (%s, 'globex', 'app', %s, 'total', %s)",
            *(f"bud_{subject}", subject, limit * 1_000_000),
        )
    await api.fetch(
        "INSERT INTO budget_use (budget, starts_at, reserved_micros, spent_micros) "
        "SELECT id, 'epoch', 0, 90000000 FROM budget WHERE subject = 'full'"
    )
    monkeypatch.setattr(overview, "MOST_BUDGETS", 2)

    text = told((await (await signed_in(api, "globex")).open("/ui/overview")).text)

    assert "Budgets, the 2 fullest" in text
    assert text.index("closed") < text.index("full", text.index("closed"))
    assert "empty" not in text
