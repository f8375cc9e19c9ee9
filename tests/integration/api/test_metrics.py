"""Prometheus' own parser reads `/metrics`, and its samples are what the rows say."""

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrics import reading
from metrics.gauges import GAUGES, Gauge
from metrics.reading import Reader
from models.keys import create_key
from tasks.measures import FAMILIES
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(found: dict[Any, float], name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


async def test_the_samples_are_what_the_rows_say(api: Api) -> None:
    jobs = [await api.submit(webhook_url="https://203.0.114.1/hook/secret") for _ in range(3)]
    await api.http.post(f"/v1/video/generations/{jobs[0]['id']}/cancel")
    await api.fetch("UPDATE due SET at = now() - interval '30 s' WHERE what = 'deliver'")

    found = samples((await api.http.get("/metrics")).text)

    assert one(found, "longtake_jobs", state="pending") == 2
    assert one(found, "longtake_jobs", state="cancelled") is None
    assert one(found, "longtake_due_rows", what="submit", lane="runway") == 2
    oldest = one(found, "longtake_due_oldest_seconds", what="deliver", lane="")
    assert oldest is not None
    assert 30 <= oldest < 60
    # A priority is a head start of minutes in time, and no wait.
    fresh = one(found, "longtake_due_oldest_seconds", what="submit", lane="runway")
    assert fresh is not None
    assert 0 <= fresh < 30
    assert one(found, "longtake_due_rows", what="deliver", lane="") == 1
    own = {family.name for family in FAMILIES}
    known = {gauge.name for gauge in GAUGES} | own
    endings = ("_total", "_bucket", "_count", "_sum")
    names = {name for name, _ in found if not name.startswith("longtake_http_request")}
    assert names <= known | {name + ending for name in own for ending in endings}


async def test_requests_are_counted_by_their_route_and_by_nothing_that_they_say(api: Api) -> None:
    job = await api.submit()
    await api.http.get(f"/v1/video/generations/{job['id']}")
    await api.http.get("/v1/video/generations/job_vid_nobodys")
    await api.http.get("/nowhere/secret")
    await api.http.request("BREW", "/nowhere")

    text = (await api.http.get("/metrics")).text
    found = samples(text)

    def requests(**labels: str) -> float | None:
        return one(found, "longtake_http_requests_total", **labels)

    template = "/v1/video/generations/{job_id}"
    assert requests(method="POST", route="/v1/video/generations", status="2xx") == 1
    assert requests(method="GET", route=template, status="2xx") == 1
    assert requests(method="GET", route=template, status="4xx") == 1
    assert requests(method="GET", route="", status="4xx") == 1
    assert requests(method="_OTHER", route="", status="4xx") == 1
    name = "longtake_http_request_duration_seconds_count"
    assert one(found, name, method="GET", route=template) == 2
    for secret in (job["id"], "nobodys", "nowhere", "BREW"):
        assert secret not in text


async def test_open_breakers_are_counted_and_not_named(api: Api) -> None:
    await api.fetch(
        "INSERT INTO receiver (tenant, host, is_prompt, open_until) "
        "VALUES ('acme', 'dead.test', false, now() + interval '80 s'), "
        "('acme', 'back.test', false, now() - interval '1 s'), ('acme', 'up.test', true, NULL)"
    )

    found = samples((await api.http.get("/metrics")).text)

    assert one(found, "longtake_receivers_open") == 1
    assert "dead.test" not in str(found)


async def test_no_sample_tells_of_a_tenant_or_an_address(api: Api) -> None:
    job = await api.submit(webhook_url="https://203.0.114.1:8443/hook/secret")
    await api.http.post(f"/v1/video/generations/{job['id']}/cancel")

    text = (await api.http.get("/metrics")).text

    for secret in ("203.0.114.1", "hook", "default", job["id"]):
        assert secret not in text


async def test_many_scrapers_read_once(api: Api) -> None:
    now = [100.0]
    reader = Reader(api.front.engine.database, clock=lambda: now[0])
    before = await reader.read()
    await api.submit()
    assert await reader.read() == before
    now[0] += 60
    assert b'longtake_jobs{state="pending"} 1.0' in await reader.read()


@pytest.mark.parametrize(
    ("client", "headers", "is_admin", "status"),
    [
        ("127.0.0.1", {}, None, 200),
        ("::1", {}, None, 200),
        ("192.0.2.7", {}, None, 401),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, None, 401),
        ("192.0.2.7", {}, False, 401),
        ("192.0.2.7", {}, True, 200),
    ],
)
async def test_who_may_scrape(
    api: Api, client: str, headers: dict[str, str], *, is_admin: bool | None, status: int
) -> None:
    if is_admin is not None:
        _, plain = await api.front.engine.database.run(
            lambda connection: create_key(connection, "ops", is_admin=is_admin)
        )
        headers = {**headers, "Authorization": f"Bearer {plain}"}
    transport = httpx.ASGITransport(app=api.app, client=(client, 9))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/metrics", headers=headers)
    assert answer.status_code == status


async def test_money_in_doubt_is_told_though_nothing_is_due_for_it(api: Api) -> None:
    await api.submit()
    await api.submit()
    await api.fetch("UPDATE attempt SET state = 'unknown', sent_at = now()")
    await api.fetch("DELETE FROM due")

    found = samples((await api.http.get("/metrics")).text)

    (row,) = await api.fetch("SELECT sum(estimated_cost_micros) / 1e6 AS dollars FROM job")
    assert row["dollars"] > 0
    assert one(found, "longtake_attempts_unknown_dollars") == float(row["dollars"])


async def test_a_statement_that_takes_too_long_costs_its_own_gauge_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "GIVEN_UP", 1)
    quick = Gauge(name="quick", help="h", sql="SELECT 1 AS value")
    slow = Gauge(name="slow", help="h", sql="SELECT pg_sleep(60), 2 AS value", lasts=60.0)
    now = [0.0]
    reader = Reader(api.front.engine.database, gauges=[slow, quick], clock=lambda: now[0])

    assert samples((await reader.read()).decode()) == {("quick", frozenset()): 1}

    # It is not asked again at once.
    monkeypatch.setattr(reading, "GIVEN_UP", 30)
    now[0] = reading.REMEMBERED + 1
    assert samples((await reader.read()).decode()) == {("quick", frozenset()): 1}


#: Settled attempts, of which money in doubt must read none.
_MANY = """
INSERT INTO attempt
SELECT copy.* FROM (SELECT to_jsonb(attempt) AS one FROM attempt ORDER BY id LIMIT 1) AS first,
    generate_series(1, 20000) AS n,
    jsonb_populate_record(NULL::attempt, one || jsonb_build_object(
        'id', 'copy' || n, 'marker', 'copy' || n, 'state', 'failed')) AS copy
"""


async def test_money_in_doubt_is_found_by_its_index_among_many_attempts(api: Api) -> None:
    await api.submit()
    await api.submit()
    await api.fetch(_MANY)
    await api.fetch("UPDATE attempt SET state = 'unknown', sent_at = now() WHERE id !~ '^copy'")
    await api.fetch("ANALYZE attempt")
    (gauge,) = (each for each in GAUGES if each.name == "longtake_attempts_unknown_dollars")

    plan = await api.fetch(f"EXPLAIN {gauge.sql}")
    lines = "\n".join(row["QUERY PLAN"] for row in plan)

    assert "attempt_unknown" in lines
    assert "Seq Scan on attempt" not in lines


_HOLDER = """
INSERT INTO holder (id, lives_for, room, watched, beat)
VALUES ('00000000-0000-0000-0000-000000000001', 20, 9, 1, now() - %s * interval '1 s')
"""


async def test_what_a_process_watches_is_in_flight_and_not_due(api: Api) -> None:
    jobs = [await api.submit() for _ in range(3)]
    await api.fetch(_HOLDER, 0)
    await api.fetch(
        "UPDATE due SET what = 'poll', at = now() + interval '10 years', "
        "lease = (SELECT id FROM holder) WHERE what = 'submit' "
        "AND id = (SELECT id FROM attempt WHERE job = %s)",
        jobs[0]["id"],
    )
    # A worker died a minute ago: what it had claimed is due again, and nobody else's.
    await api.fetch(
        "UPDATE due SET at = now() - interval '60 s', lease = gen_random_uuid(), what = 'poll' "
        "WHERE what = 'submit' AND id = (SELECT id FROM attempt WHERE job = %s)",
        jobs[1]["id"],
    )

    found = samples((await api.http.get("/metrics")).text)

    polls = {"what": "poll", "lane": "runway"}
    assert one(found, "longtake_in_flight_rows", **polls) == 1
    assert one(found, "longtake_due_rows", **polls) == 1
    oldest = one(found, "longtake_due_oldest_seconds", **polls)
    assert oldest is not None
    assert 60 <= oldest < 90
    assert one(found, "longtake_operations_watched") == 1
    assert one(found, "longtake_watchers_late_seconds") == 0


async def test_a_watcher_without_a_sign_of_life_is_late_whatever_it_said(api: Api) -> None:
    await api.fetch(_HOLDER, 120)

    found = samples((await api.http.get("/metrics")).text)

    late = one(found, "longtake_watchers_late_seconds")
    assert late is not None
    assert 100 <= late < 130
