"""The page of usage: groups drawn to scale, days without jobs, and the same as a file."""

import csv
import io
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from api.pages.usage import days_of, totals_of
from models.usage import enter
from tasks.usage import Usage
from tests.integration.api.browsing import signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import HOSTILE, told

pytestmark = pytest.mark.anyio
ENDED = (
    "UPDATE job SET state = 'complete', finished_at = now(), cost_micros = %s, "
    "created_at = now() - %s * interval '1 day' WHERE id = %s"
)


def a_day(day: datetime, micros: int) -> Usage:
    return Usage(
        group_value=f"{day:%Y-%m-%d}",
        jobs=2,
        complete=1,
        failed=1,
        cancelled=0,
        videos=1,
        video_seconds=5.0,
        cost_micros=micros,
        reserved_micros=3,
        took=None,
    )


def test_the_chart_has_every_day_to_scale() -> None:
    now = datetime.now(UTC)
    since = now - timedelta(days=4)
    found = [a_day(now - timedelta(days=3), 1_000_000), a_day(now, 4_000_000)]

    days = days_of(found, since=since, until=None)

    assert [(each.micros, each.height) for each in days] == [
        *((0, 0), (1_000_000, 25), (0, 0), (0, 0), (4_000_000, 100)),
    ]
    assert len(days_of(found, since=now - timedelta(days=5000), until=None)) == 92
    assert len(days_of([], since=now, until=now - timedelta(days=9))) <= 1
    assert totals_of(found).cost_micros == 5_000_000
    assert totals_of([]).jobs == 0


async def test_groups_are_the_sessions_own_and_what_they_are_named_is_escaped(api: Api) -> None:
    name = HOSTILE.replace("\x07", "")
    for app, micros in (("shop", 600_000), ("blog", 1_250_000)):
        job = await api.http.post(
            "/v1/video/generations", json={"prompt": "a fox"}, headers={"X-App-ID": app}
        )
        ended = [job.json()["id"]]
        await api.fetch(ENDED, micros, 1, *ended)
        await api.front.engine.database.run(partial(enter, jobs=ended))
    await api.fetch("UPDATE job_usage SET app_id = %s WHERE app_id = 'shop'", name)
    await api.new_key("globex")
    own = await signed_in(api)
    stranger = await signed_in(api, "globex")

    by_app = await own.open("/ui/usage?group_by=app_id&since=&until=")
    by_day = await own.open("/ui/usage")
    before = await own.open("/ui/usage?group_by=model&until=2020-01-02&since=2020-01-01")

    assert "<script>alert" not in by_app.text
    assert "⟨U+202E⟩" in told(by_app.text)
    assert by_app.text.index("blog") < by_app.text.index("⟨U+202E⟩"), "the dearest is first"
    assert "$1.85" in told(by_app.text)
    assert 'class="spent"' in by_day.text
    assert "$1.85" in told(by_day.text)
    assert "No job was submitted" in told(before.text)
    assert "$0.00" in told((await stranger.open("/ui/usage")).text)
    for wrong in ("group_by=nonsense", "since=yesterday", "limit=5", "after=x", "x=1"):
        assert (await own.get(f"/ui/usage?{wrong}")).status_code == 400, wrong
    assert (await own.get("/ui/usage?tenant=globex")).status_code == 401


async def test_the_file_is_the_apis(api: Api) -> None:
    await api.submit()
    browser = await signed_in(api)

    answer = await browser.open("/ui/usage.csv?group_by=model")
    of_api = await api.http.get("/v1/usage?group_by=model&format=csv")

    assert answer.text == of_api.text
    assert answer.headers["Content-Disposition"] == 'attachment; filename="usage-by-model.csv"'
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 1
