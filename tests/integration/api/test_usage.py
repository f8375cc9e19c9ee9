"""What jobs were and cost, in groups; and a request that nobody can pay for."""

import csv
import io
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from models.budgets import make_prepaid
from models.usage import enter
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/usage"


async def end(api: Api, job: str, state: str, *, cost: int = 0, after: int = 10) -> None:
    """Give a job an end, `after` seconds from its submission, with what belongs to it."""
    await api.fetch(
        """
        UPDATE job SET state = %s, cost_micros = %s,
                       finished_at = created_at + %s * interval '1 second' WHERE id = %s
        """,
        *(state, cost, after, job),
    )
    if state == "complete":
        await api.fetch(
            "UPDATE output SET state = 'stored', duration_seconds = 5 WHERE job = %s", job
        )
    await api.front.engine.database.run(lambda connection: enter(connection, [job]))


async def rows(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = await api.http.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def submitted(api: Api, *, app: str | None = None, **fields: Any) -> dict[str, Any]:
    headers = {"X-App-ID": app} if app else {}
    body = {"prompt": "a fox in fresh snow"} | fields
    answer = await api.http.post("/v1/video/generations", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def test_a_group_has_its_jobs_their_cost_and_how_long_they_took(api: Api) -> None:
    ids = [(await submitted(api, app="shop"))["id"] for _ in range(5)]
    for id_, seconds in zip(ids[:3], (10, 20, 110), strict=True):
        await end(api, id_, "complete", cost=600_000, after=seconds)
    await end(api, ids[3], "failed")
    await end(api, ids[4], "cancelled")
    running = await submitted(api)

    shop, none = await rows(api, group_by="app_id")

    assert shop == {
        "app_id": "shop",
        "jobs": 5,
        "complete": 3,
        "failed": 1,
        "cancelled": 1,
        "videos": 3,
        "video_seconds": 15.0,
        "cost_usd": 1.8,
        "reserved_usd": 0.0,
        "success_rate": 0.75,
        "seconds_to_video_p50": 20.0,
        "seconds_to_video_p95": 101.0,
    }
    assert (none["app_id"], none["jobs"], none["success_rate"]) == (None, 1, None)
    assert none["reserved_usd"] == running["estimated_cost_usd"]
    assert none["seconds_to_video_p50"] is None


async def test_jobs_are_grouped_by_model_provider_day_and_key(api: Api) -> None:
    await submitted(api)
    await submitted(api, model="gen4.5")
    keys = await api.fetch("SELECT id FROM api_key WHERE tenant = 'acme'")

    assert [(one["model"], one["jobs"]) for one in await rows(api, group_by="model")] == [
        ("gen4.5", 1),
        ("runway-gen3", 1),
    ]
    assert [one["provider"] for one in await rows(api, group_by="provider")] == ["runway"]
    assert [one["key"] for one in await rows(api, group_by="key")] == [keys[0]["id"]]
    today = await api.fetch("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day")
    assert [one["day"] for one in await rows(api, group_by="day")] == [today[0]["day"]]


async def test_a_gates_job_counts_for_the_model_that_made_its_video(api: Api) -> None:
    gate = {"name": "shop", "strategy": "single", "model": "gen4.5"}
    await api.http.post("/v1/gates", json=gate)
    stayed, moved = [(await submitted(api, gate="shop"))["id"] for _ in range(2)]
    other = Jsonb({"model": "ray-3.2", "provider": "luma_agents"})
    sql = "UPDATE job SET fallbacks = jsonb_build_object('1', plan || %s) WHERE id = %s"
    await api.fetch(sql, other, moved)
    await api.fetch("UPDATE attempt SET choice = 1 WHERE job = %s", moved)
    for job in (stayed, moved):
        await end(api, job, "complete", cost=300_000)

    models = await rows(api, group_by="model")
    assert [(one["model"], one["jobs"]) for one in models] == [("gen4.5", 1), ("ray-3.2", 1)]
    providers = await rows(api, group_by="provider")
    assert [one["provider"] for one in providers] == ["luma_agents", "runway"]


async def test_usage_is_selected_by_metadata_and_by_time(api: Api) -> None:
    await submitted(api, metadata={"order": 1042, "shop": "north"})
    await submitted(api, metadata={"order": 7, "shop": "north"})
    await submitted(api)

    assert sum(one["jobs"] for one in await rows(api)) == 3
    (north,) = await rows(api, **{"metadata.shop": "north"})
    (one,) = await rows(api, **{"metadata.shop": "north", "metadata.order": "1042"})
    assert (north["jobs"], one["jobs"]) == (2, 1)
    assert await rows(api, **{"metadata.shop": "south"}) == []
    assert await rows(api, since="2100-01-01") == []
    assert await rows(api, until="2000-01-01T00:00:00Z") == []
    (all_,) = await rows(api, since="2000-01-01", until="2100-01-01")
    assert all_["jobs"] == 3


async def test_a_table_has_the_same_columns_with_rows_and_without(api: Api) -> None:
    empty = await api.http.get(PATH, params={"format": "csv", "group_by": "app_id"})
    await submitted(api, app="=HYPERLINK(1)")
    full = await api.http.get(PATH, params={"format": "csv", "group_by": "app_id"})

    assert full.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(full.text))
    assert empty.text.strip() == ",".join(row)
    assert (row["app_id"], row["jobs"]) == ("'=HYPERLINK(1)", "1")


async def test_nothing_of_another_tenant_is_counted(api: Api) -> None:
    await submitted(api)
    api.http.headers["Authorization"] = f"Bearer {await api.new_key('globex')}"
    assert await rows(api) == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "group_by=week",
            "group_by must be one of app_id, model, provider, day, key, tenant (it is week)",
        ),
        ("format=xml", "format must be one of json, csv (it is xml)"),
        ("since=soon", "since must be a date or a time as in 2026-01-31"),
        ("until=0001-01-01T00:00:00%2B23:00", "until must be a date or a time"),
        ("groupby=day", "groupby is not a known parameter; known: group_by, since, until, format"),
        ("format=csv&format=csv", "format is given more than once"),
        ("metadata.a=", "metadata.a must not be empty: leave it out, or give 1 to 255 characters"),
    ],
)
async def test_a_bad_query_is_refused_in_words(api: Api, query: str, words: str) -> None:
    answer = await api.http.get(f"{PATH}?{query}")

    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


async def test_a_request_beyond_the_balance_is_402_and_leaves_nothing(api: Api) -> None:
    await api.front.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    before = await api.counts()

    answer = await api.http.post("/v1/video/generations", json={"prompt": "a fox in fresh snow"})

    assert answer.status_code == 402
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_balance", "insufficient_balance")
    assert error["message"].startswith("the balance of tenant acme is $0.00: of $0.00 deposited")
    assert await api.counts() == before
    assert api.hints.sent == []
