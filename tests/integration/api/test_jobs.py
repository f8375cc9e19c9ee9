"""Reading, listing and cancelling jobs."""

from typing import Any

import pytest

from api.native.schemas import Job
from models.state import JobState
from models.verbs import What
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"


async def test_a_job_is_read_as_it_was_accepted(api: Api) -> None:
    job = await api.submit(seed=7)

    answer = await api.http.get(f"{PATH}/{job['id']}")

    assert answer.status_code == 200
    job["perf"].pop("latency_ms")
    assert answer.json() == job


@pytest.mark.parametrize("job_id", ["job_vid_nope", "%00", "a%20b", "%ed%a0%80", "x" * 3000])
async def test_an_unknown_job_is_404(api: Api, job_id: str) -> None:
    for method, path in (
        ("GET", f"{PATH}/{job_id}"),
        ("POST", f"{PATH}/{job_id}/cancel"),
        ("GET", f"{PATH}/{job_id}/content"),
    ):
        answer = await api.http.request(method, path)

        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["type"], error["message"]) == ("not_found", "Video generation job not found")


async def test_a_list_goes_through_its_pages_newest_first(api: Api) -> None:
    made = [(await api.submit())["id"] for _ in range(5)]

    pages, after = [], ""
    while True:
        page = (await api.http.get(f"{PATH}?limit=2{after}")).json()
        pages.append([job["id"] for job in page["data"]])
        if not page["has_more"]:
            break
        after = f"&after={page['next']}"

    newest_first = sorted(made, reverse=True)
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert page["next"] is None


async def test_a_full_last_page_has_nothing_after_it(api: Api) -> None:
    await api.submit()
    await api.submit()

    page = (await api.http.get(f"{PATH}?limit=2")).json()

    assert (len(page["data"]), page["has_more"], page["next"]) == (2, False, None)


async def test_a_list_is_filtered_in_public_words(api: Api) -> None:
    fox = await api.submit()
    veo = await api.submit(model="veo-3")
    shop = await api.http.post(PATH, json={"prompt": "a"}, headers={"X-App-ID": "shop"})
    await api.fetch("UPDATE job SET state = 'storing' WHERE id = %s", fox["id"])

    async def ids(query: str) -> set[str]:
        answer = await api.http.get(f"{PATH}?{query}")
        assert answer.status_code == 200, answer.text
        return {job["id"] for job in answer.json()["data"]}

    assert await ids("status=processing") == {fox["id"]}
    assert await ids("status=pending") == {veo["id"], shop.json()["id"]}
    assert await ids("status=complete") == set()
    assert await ids("model=veo-3") == {veo["id"]}
    assert await ids("app_id=shop") == {shop.json()["id"]}
    assert await ids("app_id=shop&status=failed") == set()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=done", "status"),
        ("status=submitting", "status"),
        ("status=", "status"),
        ("after=%00", "after"),
        ("model=%ff%00", "model"),
        ("colour=red", "colour"),
    ],
)
async def test_a_wrong_parameter_is_named(api: Api, query: str, param: str) -> None:
    answer = await api.http.get(f"{PATH}?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert param in answer.json()["error"]["message"]


async def test_a_cancelled_job_is_final_and_nothing_of_it_is_due(api: Api) -> None:
    job = await api.submit(webhook_url="https://203.0.114.1/hook")
    api.hints.sent.clear()

    answer = await api.http.post(f"{PATH}/{job['id']}/cancel")

    cancelled = answer.json()
    assert answer.status_code == 200
    assert cancelled["status"] == "cancelled"
    reason = {"code": "cancelled", "message": "the job was cancelled"}
    assert cancelled["error"] == reason
    assert [output["error"] for output in cancelled["outputs"]] == [reason]
    assert cancelled["cost_usd"] == 0
    assert [output["status"] for output in cancelled["outputs"]] == ["failed"]
    assert [row["what"] for row in await api.fetch("SELECT what FROM due")] == ["deliver"]
    assert (What.DELIVER, None) in api.hints.sent


async def test_a_running_operation_is_cancelled_at_the_provider(api: Api) -> None:
    job = await api.submit()
    await api.fetch("UPDATE job SET state = 'processing' WHERE id = %s", job["id"])
    await api.fetch("UPDATE attempt SET state = 'accepted', operation_id = 'op-1'")
    await api.fetch("UPDATE due SET what = 'poll' WHERE what = 'submit'")
    api.hints.sent.clear()

    answer = await api.http.post(f"{PATH}/{job['id']}/cancel")

    assert answer.json()["status"] == "cancelled"
    assert await api.fetch("SELECT what, lane FROM due") == [{"what": "cancel", "lane": "runway"}]
    assert api.hints.sent == [(What.CANCEL, "runway")]


@pytest.mark.parametrize("state", [JobState.COMPLETE, JobState.FAILED, JobState.CANCELLED])
async def test_a_final_job_is_unchanged_by_a_cancel(api: Api, state: JobState) -> None:
    job = await api.submit()
    await api.fetch(
        "UPDATE job SET state = %s, finished_at = now() WHERE id = %s", state, job["id"]
    )
    before: Any = (await api.http.get(f"{PATH}/{job['id']}")).json()

    answer = await api.http.post(f"{PATH}/{job['id']}/cancel")

    assert answer.status_code == 200
    assert answer.json() == before


async def test_a_job_tells_that_it_waits_for_its_provider_s_account(api: Api) -> None:
    job = await api.submit()
    await api.fetch("UPDATE attempt SET waits_for = 'capped', waits_since = now()")

    found = (await api.http.get(f"{PATH}/{job['id']}")).json()
    gauges = (await api.http.get("/metrics")).text
    await api.http.post(f"{PATH}/{job['id']}/cancel")
    ended = (await api.http.get(f"{PATH}/{job['id']}")).json()

    assert Job.model_validate(found).waiting is not None
    assert found["waiting"]["code"] == "capped"
    assert found["waiting"]["message"] == "its provider's account has reached its spending cap"
    assert 'longtake_attempts_waiting{code="capped",lane="runway"} 1.0' in gauges
    assert "waiting" not in ended
