"""POST /v1/video/generations: one durable job for each 202."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from models.verbs import What
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"


async def test_a_prompt_alone_makes_a_job_with_the_models_own_defaults(api: Api) -> None:
    answer = await api.http.post(PATH, json={"prompt": "a fox in fresh snow"})

    job = answer.json()
    assert answer.status_code == 202
    assert job["id"].startswith("job_vid_")
    assert job["status"] == "pending"
    assert job["model"] == "runway-gen3"
    assert job["prompt"] == "a fox in fresh snow"
    assert (job["duration_seconds"], job["resolution"], job["aspect_ratio"]) == (5, "720p", "16:9")
    assert job["estimated_cost_usd"] == 0.6
    assert job["progress_percent"] == 0
    assert job["perf"]["request_id"].startswith("req_vid_")
    assert job["perf"]["model_used"] == "gen4.5"
    assert job["perf"]["latency_ms"] >= 1


async def test_an_accepted_job_is_durable_and_its_attempt_is_due(api: Api) -> None:
    job = await api.submit(count=2)

    counts = await api.counts()
    assert (counts["job"], counts["attempt"], counts["output"]) == (1, 2, 2)
    due = await api.fetch("SELECT what, lane, tenant FROM due ORDER BY what DESC, id")
    assert due == [
        {"what": "submit", "lane": "runway", "tenant": "acme"},
        {"what": "submit", "lane": "runway", "tenant": "acme"},
        {"what": "expire", "lane": "-", "tenant": "acme"},
    ]
    assert job["count"] == 2


async def test_a_fresh_job_is_hinted_at_once(api: Api) -> None:
    await api.submit()

    assert api.hints.sent == [(What.SUBMIT, "runway")]


async def test_a_job_for_later_is_not_hinted(api: Api) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    job = await api.submit(run_at=later)

    assert job["status"] == "pending"
    assert api.hints.sent == []


async def test_the_app_id_is_kept_and_given_back(api: Api) -> None:
    answer = await api.http.post(PATH, json={"prompt": "a fox"}, headers={"X-App-ID": "shop-1"})

    assert answer.json()["app_id"] == "shop-1"


async def test_metadata_comes_back_as_it_was_given(api: Api) -> None:
    metadata = {"order": 2**80, "tags": ["é", "\U0001f98a"], "deep": {"er": [1.5, None, True]}}

    job = await api.submit(metadata=metadata)

    assert job["metadata"] == metadata
    again = await api.http.get(f"{PATH}/{job['id']}")
    assert again.json()["metadata"] == metadata


async def test_the_webhooks_secret_is_in_no_answer_and_no_plain_column(api: Api) -> None:
    secret = "a-webhook-secret-of-a-test"
    job = await api.submit(webhook_url="https://203.0.114.1/hook", webhook_secret=secret)

    read = await api.http.get(f"{PATH}/{job['id']}")
    rows = await api.fetch("SELECT to_jsonb(job)::text AS text FROM job")
    assert secret not in str(job) + read.text + rows[0]["text"]


async def test_a_repeated_key_gives_the_first_answer_again(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1042"}
    first = await api.http.post(PATH, json={"prompt": "a fox", "seed": 7}, headers=headers)

    again = await api.http.post(
        PATH, content=b'{ "seed": 7,\n "prompt": "a fox" }', headers=headers
    )

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert (await api.counts())["job"] == 1
    assert len(api.hints.sent) == 1


async def test_a_repeated_key_with_another_body_is_422(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1042"}
    await api.http.post(PATH, json={"prompt": "a fox"}, headers=headers)

    answer = await api.http.post(PATH, json={"prompt": "a wolf"}, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["error"]["type"] == "idempotency_mismatch"
    assert (await api.counts())["job"] == 1


async def test_racing_duplicates_make_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1042"}

    answers = await asyncio.gather(
        *(api.http.post(PATH, json={"prompt": "a fox"}, headers=headers) for _ in range(8))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 7
    assert (await api.counts())["job"] == 1


async def test_the_same_key_of_another_tenant_is_another_key(api: Api) -> None:
    mine = {"Idempotency-Key": "order-1042"}
    theirs = mine | {"Authorization": f"Bearer {await api.new_key('globex')}"}

    first = await api.http.post(PATH, json={"prompt": "a fox"}, headers=mine)
    second = await api.http.post(PATH, json={"prompt": "a wolf"}, headers=theirs)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]
