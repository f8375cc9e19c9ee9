"""DELETE /v1/video/generations/{id}: a deleted job is shown to nobody, and not made again."""

import pytest

from models.verbs import What
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"


async def test_a_deleted_job_is_not_found_and_the_answer_says_why(api: Api) -> None:
    job = await api.submit(webhook_url="https://203.0.114.1/hook")
    api.hints.sent.clear()

    answer = await api.http.delete(f"{PATH}/{job['id']}")

    told = answer.json()
    assert answer.status_code == 200
    assert (told["id"], told["object"], told["deleted"]) == (job["id"], "video.generation", True)
    assert (What.ERASE, "-") in api.hints.sent
    for method, path in (
        ("GET", f"{PATH}/{job['id']}"),
        ("GET", f"{PATH}/{job['id']}/content"),
        ("POST", f"{PATH}/{job['id']}/cancel"),
        ("POST", f"{PATH}/{job['id']}/retry"),
    ):
        gone = await api.http.request(method, path)
        error = gone.json()["error"]
        assert (gone.status_code, error["code"]) == (404, "job_deleted"), path
        assert job["id"] in error["message"]
    assert (await api.http.get(PATH)).json()["data"] == []
    assert (await api.http.get("/v1/webhooks/deliveries")).json()["data"] == []


async def test_a_job_that_is_not_final_is_cancelled_first(api: Api) -> None:
    job = await api.submit()
    await api.fetch("UPDATE job SET state = 'processing' WHERE id = %s", job["id"])
    await api.fetch("UPDATE attempt SET state = 'accepted', operation_id = 'op-1'")
    await api.fetch("UPDATE due SET what = 'poll' WHERE what = 'submit'")
    api.hints.sent.clear()

    await api.http.delete(f"{PATH}/{job['id']}")

    (row,) = await api.fetch("SELECT state, cost_micros FROM job")
    assert row == {"state": "cancelled", "cost_micros": 0}
    assert await api.fetch("SELECT what, lane FROM due ORDER BY what") == [
        {"what": "cancel", "lane": "runway"},
        {"what": "erase", "lane": "-"},
    ]
    assert (What.CANCEL, "runway") in api.hints.sent


async def test_a_final_job_keeps_its_state_and_its_cost(api: Api) -> None:
    job = await api.submit()
    await api.fetch("UPDATE job SET state = 'complete', cost_micros = 7, finished_at = now()")

    await api.http.delete(f"{PATH}/{job['id']}")

    assert await api.fetch("SELECT state, cost_micros FROM job") == [
        {"state": "complete", "cost_micros": 7}
    ]


async def test_a_repeated_delete_gets_the_same_answer(api: Api) -> None:
    job = await api.submit()
    first = await api.http.delete(f"{PATH}/{job['id']}")

    again = await api.http.delete(f"{PATH}/{job['id']}")

    assert (again.status_code, again.json()) == (200, first.json())
    events = await api.fetch("SELECT kind FROM event WHERE kind = 'job.deleted'")
    assert len(events) == 1


@pytest.mark.parametrize("job_id", ["job_vid_nope", "%00", "x" * 3000])
async def test_an_unknown_job_is_404(api: Api, job_id: str) -> None:
    answer = await api.http.delete(f"{PATH}/{job_id}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_another_tenants_job_is_unknown_deleted_or_not(api: Api) -> None:
    job = await api.submit()
    other = {"Authorization": f"Bearer {await api.new_key('globex')}"}
    for _ in range(2):
        for method, path in (("DELETE", ""), ("GET", ""), ("POST", "/retry")):
            answer = await api.http.request(method, f"{PATH}/{job['id']}{path}", headers=other)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        await api.http.delete(f"{PATH}/{job['id']}")


async def test_a_repeat_of_a_deleted_jobs_request_makes_no_second_job(api: Api) -> None:
    headers, body = {"Idempotency-Key": "order-1042"}, {"prompt": "a fox"}
    job = (await api.http.post(PATH, json=body, headers=headers)).json()
    await api.http.delete(f"{PATH}/{job['id']}")

    again = await api.http.post(PATH, json=body, headers=headers)

    assert (again.status_code, again.json()["error"]["code"]) == (404, "job_deleted")
    assert (await api.counts())["job"] == 1


async def test_a_deleted_jobs_picture_can_not_be_used(api: Api) -> None:
    job = await api.submit()
    await api.fetch("UPDATE job SET state = 'complete', finished_at = now(), cost_micros = 0")
    await api.fetch("UPDATE output SET state = 'stored', key = 'videos/a.mp4'")
    body = {"prompt": "a fox", "image": {"job_id": job["id"]}}
    assert (await api.http.post(PATH, json=body)).status_code == 202

    await api.http.delete(f"{PATH}/{job['id']}")

    answer = await api.http.post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


async def test_a_link_that_was_given_out_before_leads_nowhere(api: Api) -> None:
    job = await api.submit()
    await api.fetch("UPDATE job SET state = 'complete', finished_at = now(), cost_micros = 0")
    await api.fetch("UPDATE output SET state = 'stored', key = 'videos/a.mp4', bytes = 1")
    link = (await api.http.get(f"{PATH}/{job['id']}")).json()["video_url"]

    await api.http.delete(f"{PATH}/{job['id']}")

    path = link.removeprefix("https://videos.test")
    answer = await api.http.get(path, headers={"Authorization": ""})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_deleted")
