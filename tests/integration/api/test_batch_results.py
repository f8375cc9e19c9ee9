"""Batches after their submission, over HTTP: read, list, cancel, results, and lists of lines."""

import json
from typing import Any

import pytest

from models.state import JobState
from models.verbs import What
from tasks.batches import results as reading
from tasks.outcomes.finish import finish
from tests.integration.api.conftest import Api
from tests.integration.engine.batched import TestBatch, batch_of, found_wrong, held, pumped, tally

pytestmark = pytest.mark.anyio
PATH = "/v1/batches"
SKIPPED = [
    {"line": 2, "custom_id": "b", "param": "prompt", "code": "invalid_request", "message": "no"},
    {"line": 9, "custom_id": None, "param": None, "code": "invalid_request", "message": "no"},
]


async def made(api: Api, lines: int = 3, **options: Any) -> TestBatch:
    return await batch_of(api.front.engine, lines, tenant="acme", **options)


async def ended(api: Api, *jobs: str, to: JobState = JobState.CANCELLED) -> None:
    engine = api.front.engine
    await engine.database.run(lambda c: finish(engine, c, to, list(jobs)))


async def lines_of(api: Api, batch: TestBatch, query: str = "") -> list[dict[str, Any]]:
    answer = await api.http.get(f"{PATH}/{batch.id}/results{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


async def numbers(api: Api, batch: TestBatch, query: str = "") -> list[int]:
    return [line["line"] for line in await lines_of(api, batch, query)]


async def test_a_batch_is_read_with_counts_that_are_true_at_once(api: Api) -> None:
    batch = await made(api, errors=SKIPPED[:1])
    await ended(api, batch.jobs[1])

    answer = await api.http.get(f"{PATH}/{batch.id}")

    view = answer.json()
    assert (answer.status_code, view["object"], view["status"]) == (200, "batch", "in_progress")
    assert view["counts"] == {
        "total": 4,
        "pending": 2,
        "processing": 0,
        "complete": 0,
        "failed": 0,
        "cancelled": 1,
        "invalid": 1,
    }
    assert (view["errors"], view["error_count"]) == (SKIPPED[:1], 1)
    assert view["reserved_cost_usd"] == pytest.approx(view["estimated_cost_usd"] * 2 / 3)
    assert view["cost_usd"] == 0
    ledger = await api.fetch(
        "SELECT sum(amount_micros)::bigint AS held FROM ledger_entry "
        "WHERE account = 'tenant:reserved'"
    )
    assert ledger[0]["held"] == round(view["reserved_cost_usd"] * 1_000_000)


async def test_batches_are_listed_newest_first_and_by_status(api: Api) -> None:
    first, second = await made(api), await made(api)
    await ended(api, *first.jobs)
    await tally(api.front.engine)
    await api.http.post(f"{PATH}/{second.id}/cancel")

    async def listed(query: str = "") -> list[str]:
        return [each["id"] for each in (await api.http.get(f"{PATH}{query}")).json()["data"]]

    assert await listed() == [second.id, first.id]
    assert await listed("?status=failed") == [first.id]
    assert await listed("?status=cancelling") == [second.id]
    assert await listed("?status=in_progress") == []
    assert await listed(f"?after={second.id}&limit=1") == [first.id]
    answer = await api.http.get(f"{PATH}?status=done")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "status")


async def test_a_cancel_stops_at_once_what_is_held_and_ends_the_rest(api: Api) -> None:
    batch = await made(api, 3, concurrency=1)
    await tally(api.front.engine)
    answer = await api.http.post(f"{PATH}/{batch.id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelling")
    assert (What.TALLY, "-") in api.hints.sent
    asked = answer.json()["cancelled_at"]
    await tally(api.front.engine)

    again = await api.http.post(f"{PATH}/{batch.id}/cancel")

    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    assert again.json()["cancelled_at"] == asked is not None
    assert again.json()["counts"]["cancelled"] == 3
    assert await api.fetch("SELECT 1 FROM due WHERE what = 'tally'") == []


async def test_a_batch_is_its_tenants_own(api: Api) -> None:
    batch = await made(api)
    other = {"Authorization": f"Bearer {await api.new_key('other')}"}
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/results")):
        for id_ in (batch.id, "batch_none", "a\x00b"):
            answer = await api.http.request(
                method, f"{PATH}/{id_.replace(chr(0), '%00')}{path}", headers=other
            )
            assert answer.status_code == 404, (method, path, id_)
    assert (await api.http.get(PATH, headers=other)).json()["data"] == []
    assert (await api.http.get(f"{PATH}/{batch.id}")).json()["status"] == "in_progress"


async def test_results_are_in_input_order_with_skipped_and_deleted_lines_in_their_places(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE", 2)
    batch = await made(api, 5, errors=SKIPPED)
    for old, new in ((5, 7), (4, 6), (3, 5), (2, 3)):  # where no invalid line was
        await api.fetch("UPDATE job SET batch_line = %s WHERE batch_line = %s", new, old)
    await ended(api, batch.jobs[1])
    await api.http.delete(f"/v1/video/generations/{batch.jobs[3]}")

    lines = await lines_of(api, batch)

    assert [(line["line"], line["status"]) for line in lines] == [
        *((1, "pending"), (2, "invalid"), (3, "cancelled"), (5, "pending")),
        *((6, "deleted"), (7, "pending"), (9, "invalid")),
    ]
    one = (await api.http.get(f"/v1/video/generations/{batch.jobs[0]}")).json()
    assert lines[0] == {
        "line": 1,
        "custom_id": "line-1",
        "status": "pending",
        "job": one,
        "error": None,
    }
    assert (one["batch_id"], one["custom_id"], one["batch_line"]) == (batch.id, "line-1", 1)
    assert lines[1] == {
        "line": 2,
        "custom_id": "b",
        "status": "invalid",
        "job": None,
        "error": {"code": "invalid_request", "message": "no", "param": "prompt"},
    }
    assert lines[2]["job"]["status"] == "cancelled"
    assert lines[4]["job"] is None


async def test_results_go_on_after_a_line_and_can_be_filtered(api: Api) -> None:
    batch = await made(api, 4, errors=SKIPPED[1:])
    await ended(api, batch.jobs[0], batch.jobs[2])
    await api.http.delete(f"/v1/video/generations/{batch.jobs[3]}")
    assert await numbers(api, batch, "?after=2") == [3, 4, 9]
    assert await numbers(api, batch, "?status=cancelled") == [1, 3]
    assert await numbers(api, batch, "?status=cancelled&after=1") == [3]
    assert await numbers(api, batch, "?status=invalid") == [9]
    assert await numbers(api, batch, "?status=deleted") == [4]
    assert await numbers(api, batch, "?status=pending") == [2]
    for query in ("?status=done", "?after=-1", "?after=x", "?limit=3", "?after=1&after=2"):
        answer = await api.http.get(f"{PATH}/{batch.id}/results{query}")
        assert answer.status_code == 400, query


async def test_a_lines_error_is_told_beside_its_job(api: Api) -> None:
    batch = await made(api, 1, concurrency=1)
    await api.fetch("UPDATE job SET deadline_at = now() - interval '1 s'")
    await pumped(api.front.engine, What.EXPIRE, What.TALLY)
    (line,) = await lines_of(api, batch, "?status=failed")
    assert line["error"]["code"] == line["job"]["error"]["code"] == "deadline_exceeded"
    assert (await api.http.get(f"{PATH}/{batch.id}")).json()["status"] == "failed"


async def test_jobs_are_listed_by_their_batch(api: Api) -> None:
    batch = await made(api, 2)
    await api.submit()
    answer = await api.http.get(f"/v1/video/generations?batch_id={batch.id}&limit=1")
    page = answer.json()
    assert page["has_more"] is True
    rest = await api.http.get(f"/v1/video/generations?batch_id={batch.id}&after={page['next']}")
    found = {each["id"] for each in [*page["data"], *rest.json()["data"]]}
    assert found == set(batch.jobs)


# -- retry ----------------------------------------------------------------------------------------


async def submitted(api: Api, *lines: dict[str, Any], **options: Any) -> TestBatch:
    """A batch through the front door, whose lines' custom_ids are a, b, …"""
    named = [{"custom_id": chr(97 + n), "prompt": "x", **line} for n, line in enumerate(lines)]
    answer = await api.http.post(PATH, json={"options": options, "requests": named})
    assert answer.status_code == 202, answer.text
    id_ = answer.json()["id"]
    jobs = await api.fetch("SELECT id FROM job WHERE batch_id = %s ORDER BY batch_line", id_)
    return TestBatch(id_, [row["id"] for row in jobs])


async def failed(api: Api, *jobs: str) -> None:
    sql = "UPDATE job SET deadline_at = now() - interval '1 s' WHERE id = ANY(%s)"
    await api.fetch(sql, list(jobs))
    await pumped(api.front.engine, What.EXPIRE)


HOOK = {"webhook_url": "https://203.0.114.1/hook?token=t", "webhook_secret": "a-secret-of-a-test"}


async def test_a_retry_is_a_new_batch_of_the_failed_lines(api: Api) -> None:
    lines = ({"seed": 1}, {"seed": 2, **HOOK}, {"seed": 3}, {"seed": 4})
    options = {"concurrency": 3, "metadata": {"k": 1}, "priority": "high", "name": "n"}
    first = await submitted(api, *lines, **options, **HOOK)
    await failed(api, first.jobs[1], first.jobs[2])
    await ended(api, first.jobs[3])
    headers = {"Idempotency-Key": "again"}

    answer = await api.http.post(f"{PATH}/{first.id}/retry", headers=headers)
    again = await api.http.post(f"{PATH}/{first.id}/retry", headers=headers)

    view = answer.json()
    assert answer.status_code == again.status_code == 202, answer.text
    assert again.json() == view
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (view["retry_of"], view["name"], view["metadata"]) == (first.id, "n", {"k": 1})
    assert (view["counts"]["total"], view["options"]["concurrency"]) == (2, 3)
    rows = await api.fetch("SELECT * FROM job WHERE batch_id = %s ORDER BY batch_line", view["id"])
    assert [(row["batch_line"], row["custom_id"], row["retry_of"]) for row in rows] == [
        (2, "b", first.jobs[1]),
        (3, "c", first.jobs[2]),
    ]
    assert [row["request"]["seed"] for row in rows] == [2, 3]
    assert {row["request"]["priority"] for row in rows} == {"high"}
    vault = api.front.engine.vault
    assert vault.open_json(rows[0]["webhook"])["secret"] == HOOK["webhook_secret"]
    assert rows[1]["webhook"] is None
    (batch,) = await api.fetch("SELECT webhook FROM batch WHERE id = %s", view["id"])
    assert vault.open_json(batch["webhook"])["url"] == HOOK["webhook_url"]


async def test_cancelled_lines_are_retried_if_it_is_asked_for_and_deleted_ones_never(
    api: Api,
) -> None:
    first = await submitted(api, {}, {}, {})
    await ended(api, first.jobs[0], first.jobs[1])
    await api.http.delete(f"/v1/video/generations/{first.jobs[1]}")
    none = await api.http.post(f"{PATH}/{first.id}/retry")
    assert (none.status_code, none.json()["error"]["code"]) == (409, "nothing_to_retry")

    wanted = {"include_cancelled": True}
    answer = await api.http.post(f"{PATH}/{first.id}/retry", json=wanted)

    assert (answer.status_code, answer.json()["counts"]["total"]) == (202, 1)
    bodies: list[Any] = [{"include": True}, {"include_cancelled": "yes"}, [], 1]
    for wrong in bodies:
        refused = await api.http.post(f"{PATH}/{first.id}/retry", json=wrong)
        assert refused.status_code == 400, wrong
    other = {"Authorization": f"Bearer {await api.new_key('other')}"}
    assert (await api.http.post(f"{PATH}/{first.id}/retry", headers=other)).status_code == 404


async def test_a_submitted_batch_lives_to_its_end(api: Api) -> None:
    batch = await submitted(api, {}, {}, concurrency=1, **HOOK)
    engine = api.front.engine
    assert await found_wrong(engine) == []
    await tally(engine)
    assert await held(engine, batch) == [2]
    assert await found_wrong(engine) == []
    await api.http.post(f"{PATH}/{batch.id}/cancel")
    await tally(engine)
    view = (await api.http.get(f"{PATH}/{batch.id}")).json()
    assert (view["status"], view["counts"]["cancelled"]) == ("cancelled", 2)
    assert await found_wrong(engine) == []
    (told,) = (await api.http.get(f"/v1/webhooks/deliveries?batch_id={batch.id}")).json()["data"]
    assert (told["type"], told["batch_id"], told["job_id"]) == ("batch.completed", batch.id, None)
