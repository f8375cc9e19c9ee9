"""Batches at their edges: many at once, odd values, and what their lines leave to others."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from models.invariants import violations
from models.limits import read_limits, set_limits
from models.rows.limits import Holder
from tasks.batches.checking import NATIVE_URL
from tasks.forms import ENQUEUE_BATCH
from tasks.letters import Letter, take_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_batches import PATH, jsonl, send

pytestmark = pytest.mark.anyio

#: Its lines look up their gate while their batch's transaction is open.
GATE: Final[dict[str, Any]] = {
    "name": "both",
    "strategy": "fallback",
    "model": "runway-gen3",
    "fallback_models": ["veo3.1"],
}


async def test_as_many_batches_at_once_as_there_are_connections_are_all_accepted(api: Api) -> None:
    assert (await api.http.post("/v1/gates", json=GATE)).status_code == 201
    engine = api.front.engine
    count = 2 * engine.settings.database_connections

    def letter(number: int) -> Letter:
        fields = {"requests": [{"prompt": "a", "gate": "both"}], "batch_id": f"b{number}"}
        return Letter(
            form=ENQUEUE_BATCH, task_id=f"t{number}", args=(), kwargs=fields | {"tenant": "acme"}
        )

    await asyncio.gather(*(take_in(engine, letter(number)) for number in range(count)))

    (found,) = await api.fetch(
        "SELECT (SELECT count(*) FROM batch) AS batches, (SELECT count(*) FROM job) AS jobs"
    )
    assert found == {"batches": count, "jobs": count}
    assert await engine.database.run(violations) == []


@pytest.mark.parametrize("offset", ["+20:00", "+01:00:00.5", "-23:59", "+23:00"])
@pytest.mark.parametrize("days", [-20_000, 20])
async def test_a_time_with_any_offset_is_taken(api: Api, days: int, offset: str) -> None:
    run_at = f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%S}{offset}"
    answer = await send(api, [{"prompt": "a", "run_at": run_at}])

    assert answer.status_code == 202, answer.text
    (job,) = await api.fetch("SELECT run_at FROM job")
    assert job["run_at"] == datetime.fromisoformat(run_at)


async def test_a_budget_may_be_as_large_as_its_maximum(api: Api) -> None:
    most = 1e9
    body = {
        "options": {"max_cost_usd": most},
        "requests": [{"prompt": "a", "max_cost_usd": most}],
    }

    answer = await send(api, body)

    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("seconds", [10**400, 1e300, "9" * 400, 4.5, -1, 0])
async def test_seconds_out_of_range_are_refused_by_name(api: Api, seconds: Any) -> None:
    body = {"prompt": "a", "seconds": seconds}
    line = {"method": "POST", "url": "/v1/videos", "body": body}

    single = await api.http.post("/v1/videos", json=body)
    batch = await send(api, [line])

    assert single.status_code == batch.status_code == 400, batch.text
    (error,) = batch.json()["error"]["errors"]
    assert (single.json()["error"]["param"], error["param"]) == ("seconds", "seconds")


async def test_a_retry_keeps_numbers_of_any_size(api: Api) -> None:
    metadata = {"n": 10**30, "f": 1e-300}
    batch = (await send(api, [{"prompt": "a", "metadata": metadata}])).json()["id"]
    await api.fetch("UPDATE job SET state = 'failed', finished_at = now()")

    answer = await api.http.post(f"{PATH}/{batch}/retry")

    assert answer.status_code == 202, answer.text
    (job,) = await api.fetch(
        "SELECT request -> 'metadata' AS metadata FROM job WHERE retry_of IS NOT NULL"
    )
    assert job["metadata"] == metadata


async def test_a_batchs_defaults_hold_for_openais_lines_too(api: Api) -> None:
    defaults = {"duration_seconds": 10, "model": "gen4.5", "aspect_ratio": "9:16"}
    urls = ("/v1/videos", NATIVE_URL)
    lines = [{"method": "POST", "url": url, "body": {"prompt": "a"}} for url in urls]

    answer = await send(api, jsonl({"batch": {"defaults": defaults}}, *lines))

    assert answer.status_code == 202, answer.text
    openai, native = await api.fetch("SELECT model, plan, request FROM job ORDER BY batch_line")
    assert openai["model"] == native["model"]
    assert openai["plan"] == native["plan"]
    assert openai["plan"]["duration_seconds"] == 10


async def test_a_line_of_openais_leaves_to_a_gate_what_it_does_not_set(api: Api) -> None:
    assert (await api.http.post("/v1/gates", json=GATE)).status_code == 201
    line = {"method": "POST", "url": "/v1/videos", "body": {"prompt": "a"}}

    answer = await send(api, {"options": {"gate": "both"}, "requests": [line]})

    assert answer.status_code == 202, answer.text
    (job,) = await api.fetch("SELECT model, request FROM job")
    assert job["model"] == "runway-gen3"
    assert "model" not in job["request"]


async def test_an_invalid_default_is_refused_for_openais_lines_too(api: Api) -> None:
    line = {"method": "POST", "url": "/v1/videos", "body": {"prompt": "a"}}
    body = {"options": {"defaults": {"duration_seconds": "x"}}, "requests": [line]}

    answer = await send(api, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["param"] == "duration_seconds"


async def test_the_budget_of_a_batch_holds_for_its_dearest_models(api: Api) -> None:
    assert (await api.http.post("/v1/gates", json=GATE)).status_code == 201
    options = {"gate": "both", "defaults": {"duration_seconds": 4}}
    lines = [{"prompt": "a"}] * 4
    free = (await send(api, {"options": options, "requests": lines})).json()
    first, most = free["estimated_cost_usd"], free["reserved_cost_usd"]
    assert float(first) < float(most)

    between = (float(first) + float(most)) / 2
    refused = await send(api, {"options": options | {"max_cost_usd": between}, "requests": lines})
    accepted = await send(
        api, {"options": options | {"max_cost_usd": float(most)}, "requests": lines}
    )

    assert refused.status_code == 402
    assert "may cost up to" in refused.json()["error"]["message"]
    assert accepted.status_code == 202


async def test_a_scheduled_line_does_not_go_with_a_concurrency(api: Api) -> None:
    in_days = datetime.now(UTC) + timedelta(days=20)
    later = {"prompt": "later", "run_at": in_days.isoformat()}
    earlier = {"prompt": "now", "run_at": "2001-11-01T00:00:00Z"}

    refused = await send(api, {"options": {"concurrency": 1}, "requests": [earlier, later]})
    accepted = await send(api, {"options": {"concurrency": 1}, "requests": [earlier]})
    unlimited = await send(api, [later])

    (error,) = refused.json()["error"]["errors"]
    assert (refused.status_code, error["line"], error["param"]) == (400, 2, "run_at")
    assert (accepted.status_code, unlimited.status_code) == (202, 202)


async def test_long_names_of_fields_are_cut_in_errors(api: Api) -> None:
    name = "k" * 100_000

    answer = await send(api, jsonl({"prompt": "a", name: 1}, {"request": {"prompt": "a", name: 1}}))

    assert answer.json()["error"]["error_count"] == 2
    assert len(answer.content) < 3_000


async def test_a_first_limit_counts_a_recent_batch_as_one_of_its_minute(api: Api) -> None:
    assert (await send(api, [{"prompt": "a"}] * 30)).status_code == 202
    assert (await api.http.post(NATIVE_URL, json={"prompt": "a"})).status_code == 202
    database = api.front.engine.database

    await database.run(
        lambda c: set_limits(c, Holder.TENANT, "acme", changes={"per_minute": 10, "per_day": 100})
    )

    (used,) = await database.run(lambda c: read_limits(c, Holder.TENANT, "acme"))
    assert (used.minute_used, used.day_used) == (2, 31)


async def test_an_invalid_line_does_not_take_its_name_from_a_valid_one(api: Api) -> None:
    lines = [{"custom_id": "x", "prompt": text} for text in ("", "good", "again")]

    answer = await send(api, jsonl({"batch": {"on_invalid": "skip"}}, *lines))

    assert answer.status_code == 202, answer.text
    assert [each["line"] for each in answer.json()["errors"]] == [2, 4]
    (job,) = await api.fetch("SELECT prompt FROM job")
    assert job["prompt"] == "good"
