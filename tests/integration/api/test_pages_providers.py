"""The pages of providers: for operators alone; pause, resume, and learned durations to scale."""

from datetime import UTC, datetime

import pytest

from api.pages.providers import spreads_of
from models.keys import create_key
from tasks.learned import Learned
from tests.integration.api.browsing import Browser, signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import HOSTILE, told

pytestmark = pytest.mark.anyio
PAUSED = "SELECT name, pause_reason, paused_until FROM account_rule WHERE paused_at IS NOT NULL"
CAPPED = "SELECT name, cap_micros FROM account_rule WHERE cap_micros IS NOT NULL"


async def operator(api: Api, **options: bool) -> Browser:
    await api.front.engine.database.run(
        lambda connection: create_key(connection, "ops", is_admin=True)
    )
    return await signed_in(api, "ops", is_admin=True, **options)


def learned(route: str, *seconds: float) -> Learned:
    p10, p50, p90 = seconds
    now = datetime.now(UTC)
    return Learned(route=route, p10=p10, p50=p50, p90=p90, samples=9, learned_at=now)


def test_durations_share_one_scale() -> None:
    spreads = spreads_of([learned("a/x", 10, 20, 40), learned("b/y", 50, 60, 100)])

    drawn = [(each.begins, each.middle, each.ends) for each in spreads]
    assert drawn == [(100, 200, 400), (500, 600, 1000)]
    assert spreads_of([]) == []
    assert spreads_of([learned("a/x", 0, 0, 0)])[0].ends == 0


async def test_pages_are_for_operators_and_show_accounts_and_lanes(api: Api) -> None:
    await api.submit()
    await api.fetch(
        "INSERT INTO duration (route, p10, p50, p90, samples) "
        "VALUES ('runway/<i>gen4', 21, 34, 55, 12), ('luma/ray', 1, 2, 3, 9)"
    )
    await api.fetch(
        "INSERT INTO lane_pace (what, lane, share, paused_until, noted_by) "
        "VALUES ('poll', 'runway', 0.25, now() + interval '9 seconds', gen_random_uuid())"
    )
    tenant = await signed_in(api)
    browser = await operator(api)

    listed = await browser.open("/ui/providers")
    one = await browser.open("/ui/providers/runway")

    assert "slowed down" in told(listed.text)
    assert "poll at 25 %" in told(listed.text)
    assert "its provider answered with 429" in told(one.text)
    assert "runway/&lt;i&gt;gen4" in one.text
    assert "luma/ray" not in one.text
    assert "luma/ray" in listed.text
    assert (await browser.get("/ui/providers/nobody")).status_code == 404
    assert (await browser.get("/ui/providers?x=1")).status_code == 400
    for path in ("/ui/providers", "/ui/providers/runway"):
        assert (await tenant.get(path)).status_code == 403
    for verb in ("pause", "resume"):
        assert (await tenant.send(f"/ui/providers/runway/{verb}")).status_code == 403
    assert await api.fetch(PAUSED) == []
    assert "/ui/providers" not in (await tenant.open("/ui/jobs")).text


async def test_an_operator_pauses_and_resumes_with_a_reason(api: Api) -> None:
    browser = await operator(api)
    await browser.open("/ui/providers/runway")
    reason = HOSTILE.replace("\x07", "")

    paused = await browser.send("/ui/providers/runway:plain/pause", seconds="900", reason="no")
    (row,) = await api.fetch(PAUSED)
    assert (paused.status_code, paused.headers["Location"]) == (303, "/ui/providers/runway")
    assert (row["name"], row["pause_reason"]) == ("runway", "no")
    assert row["paused_until"] is not None
    shown = await browser.open("/ui/providers/runway")
    assert "Resume" in told(shown.text)

    whole = await browser.send("/ui/providers/runway/pause", seconds="", reason="")
    assert whole.status_code == 303
    assert {each["name"] for each in await api.fetch(PAUSED)} == {"runway", "runway:*"}
    refused = await browser.send("/ui/providers/runway:plain/resume")
    assert refused.status_code == 409
    assert "resume runway" in told(refused.text)
    assert (await browser.send("/ui/providers/runway/resume")).status_code == 303
    assert await api.fetch(PAUSED) == []

    for fields in (
        {"seconds": "soon"},
        {"seconds": "0"},
        {"reason": "x" * 501},
        {"reason": reason},
    ):
        answer = await browser.send("/ui/providers/runway/pause", **fields)
        assert answer.status_code in {303, 400}, fields
        assert "<script>alert" not in (await browser.open("/ui/providers")).text
    assert (await browser.send("/ui/providers/nobody/pause")).status_code == 404


async def test_an_operator_who_only_reads_pauses_nothing(api: Api) -> None:
    browser = await operator(api, is_read_only=True)

    page = await browser.open("/ui/providers/runway")

    assert "/pause" not in page.text
    assert (await browser.send("/ui/providers/runway/pause")).status_code == 403
    assert await api.fetch(PAUSED) == []


async def test_an_operator_sets_and_removes_a_cap(api: Api) -> None:
    browser, tenant = await operator(api), await signed_in(api)
    path = "/ui/providers/runway:plain/cap"
    before = await browser.open("/ui/providers/runway")
    assert "Set a cap" in told(before.text)
    assert "Remove the cap" not in told(before.text)

    made = await browser.send(path, cap_usd=" 12.50 ", cap_period="month")

    assert (made.status_code, made.headers["Location"]) == (303, "/ui/providers/runway")
    assert await api.fetch(CAPPED) == [{"name": "runway", "cap_micros": 12_500_000}]
    shown = await browser.open("/ui/providers/runway")
    assert "Change the cap" in told(shown.text)
    assert '<option value="month" selected>' in shown.text
    for fields in (
        {"cap_usd": "much", "cap_period": "day"},
        {"cap_usd": "nan", "cap_period": "day"},
        {"cap_usd": "", "cap_period": "day"},
        {"cap_usd": "1", "cap_period": "week"},
        {"cap_usd": "1"},
    ):
        assert (await browser.send(path, **fields)).status_code == 400, fields
    assert (await tenant.send(path, cap_usd="1", cap_period="day")).status_code == 403
    assert (await tenant.send(f"{path}/delete")).status_code == 403
    assert await api.fetch(CAPPED) == [{"name": "runway", "cap_micros": 12_500_000}]

    assert (await browser.send(f"{path}/delete")).status_code == 303
    assert await api.fetch(CAPPED) == []
    unknown = await browser.send("/ui/providers/nobody/cap", cap_usd="1", cap_period="day")
    assert unknown.status_code == 404


async def test_caps_need_the_forms_token_and_a_session_that_may_change_things(api: Api) -> None:
    browser, reader = await operator(api), await operator(api, is_read_only=True)
    path, cap = "/ui/providers/runway/cap", {"cap_usd": "1", "cap_period": "day"}
    await browser.open("/ui/providers/runway")

    page = await reader.open("/ui/providers/runway")
    forged = await browser.send(path, **cap, token="guessed")

    assert "/cap" not in page.text
    assert forged.status_code == 403
    for each in (path, f"{path}/delete"):
        assert (await reader.send(each, **cap)).status_code == 403
    assert await api.fetch(CAPPED) == []
