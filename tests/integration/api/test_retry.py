"""POST /v1/video/generations/{id}/retry: the same request as a new job that names the first."""

from typing import Any

import pytest

from models.state import JobState
from tests.integration.api.conftest import Api
from tests.integration.api.stored import whole_scene

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


async def cancelled(api: Api, **fields: Any) -> str:
    job: str = (await api.submit(**fields))["id"]
    await api.http.post(f"{PATH}/{job}/cancel")
    return job


async def test_a_retry_is_a_new_job_of_the_same_request(api: Api) -> None:
    fields = {
        "seed": 7,
        "count": 2,
        "metadata": {"order": 1042},
        "image": PIXEL,
        "priority": "high",
        "webhook_url": "https://203.0.114.1/hook?token=t",
        "webhook_secret": "a-secret-of-a-test",
    }
    first = await cancelled(api, **fields)
    api.hints.sent.clear()

    answer = await api.http.post(f"{PATH}/{first}/retry")

    job = answer.json()
    assert answer.status_code == 202
    assert job["id"] != first
    assert (job["retry_of"], job["status"]) == (first, "pending")
    assert {name: job[name] for name in ("seed", "count", "metadata", "priority")} == {
        name: fields[name] for name in ("seed", "count", "metadata", "priority")
    }
    vault = api.front.engine.vault
    sealed = await api.fetch("SELECT scene, webhook, request, prompt FROM job ORDER BY id")
    old, new = sealed
    assert (new["request"], new["prompt"]) == (old["request"], old["prompt"])
    for name in ("scene", "webhook"):
        assert vault.open_json(new[name]) == vault.open_json(old[name])
    assert (await whole_scene(api, new["scene"]))["image"] == PIXEL
    assert len(api.hints.sent) == 1
    read = (await api.http.get(f"{PATH}/{job['id']}")).json()
    assert read["retry_of"] == first
    assert "retry_of" not in (await api.http.get(f"{PATH}/{first}")).json()


@pytest.mark.parametrize("state", [state for state in JobState if state != JobState.FAILED])
async def test_only_what_failed_or_was_cancelled_can_be_retried(api: Api, state: JobState) -> None:
    job = await api.submit()
    await api.fetch("UPDATE job SET state = %s", state)

    answer = await api.http.post(f"{PATH}/{job['id']}/retry")

    if state is JobState.CANCELLED:
        assert answer.status_code == 202
        return
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "job_not_retriable")
    assert "only a failed or a cancelled job can be retried" in error["message"]
    assert (await api.counts())["job"] == 1


async def test_a_failed_job_can_be_retried_and_stays_failed(api: Api) -> None:
    job = await api.submit()
    await api.fetch("UPDATE job SET state = 'failed', finished_at = now(), cost_micros = 0")

    assert (await api.http.post(f"{PATH}/{job['id']}/retry")).status_code == 202

    assert (await api.http.get(f"{PATH}/{job['id']}")).json()["status"] == "failed"


async def test_a_repeated_key_retries_once_even_after_the_first_was_deleted(api: Api) -> None:
    first, headers = await cancelled(api), {"Idempotency-Key": "again-1"}
    one = await api.http.post(f"{PATH}/{first}/retry", headers=headers)

    two = await api.http.post(f"{PATH}/{first}/retry", headers=headers)
    await api.http.delete(f"{PATH}/{first}")
    three = await api.http.post(f"{PATH}/{first}/retry", headers=headers)

    assert one.json() == two.json() == three.json()
    assert two.headers["Idempotent-Replayed"] == "true"
    assert (await api.counts())["job"] == 2


async def test_a_key_of_another_request_is_422(api: Api) -> None:
    first, second, headers = await cancelled(api), await cancelled(api), {"Idempotency-Key": "k"}
    await api.http.post(f"{PATH}/{first}/retry", headers=headers)

    for path, body in ((f"{PATH}/{second}/retry", None), (PATH, {"prompt": "a fox"})):
        answer = await api.http.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (422, "idempotency_mismatch")


async def test_without_a_key_each_retry_is_another_job(api: Api) -> None:
    first = await cancelled(api)
    made = {(await api.http.post(f"{PATH}/{first}/retry")).json()["id"] for _ in range(2)}
    assert len(made) == 2


async def test_a_retry_keeps_its_app_unless_it_names_another(api: Api) -> None:
    body, headers = {"prompt": "a fox"}, {"X-App-ID": "shop"}
    first = (await api.http.post(PATH, json=body, headers=headers)).json()["id"]
    await api.http.post(f"{PATH}/{first}/cancel")

    kept = await api.http.post(f"{PATH}/{first}/retry")
    other = await api.http.post(f"{PATH}/{first}/retry", headers={"X-App-ID": "lab"})

    assert (kept.json()["app_id"], other.json()["app_id"]) == ("shop", "lab")


@pytest.mark.parametrize("job_id", ["job_vid_nope", "%00", "x" * 3000])
async def test_an_unknown_job_is_404(api: Api, job_id: str) -> None:
    answer = await api.http.post(f"{PATH}/{job_id}/retry")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_retry_that_can_not_be_made_any_more_says_why(api: Api) -> None:
    first = await cancelled(api)
    await api.fetch("""UPDATE job SET request = request || '{"model": "long-gone"}'""")

    answer = await api.http.post(f"{PATH}/{first}/retry")

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    assert (await api.counts())["job"] == 1
