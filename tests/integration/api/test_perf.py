"""Perf's dialect: its document's fields and words for each status, with our numbers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from api.dialects.perf import DEFAULTS, MODELS, RATIOS, RESOLUTIONS
from models.state import JobState
from settings import load
from tests.integration.api.conftest import ENVIRONMENT, Api, Hints

pytestmark = pytest.mark.anyio
PATH = "/perf/v1/video/generations"
NATIVE = "/v1/video/generations"
CREATED = {
    *("id", "status", "model", "prompt", "duration_seconds", "resolution", "aspect_ratio"),
    *("estimated_cost_usd", "perf"),
}
PROCESSING = {
    *("id", "status", "model", "prompt", "progress_percent", "estimated_remaining_seconds"),
}
COMPLETE = {
    *("id", "status", "model", "prompt", "video_url", "duration_seconds", "resolution"),
    *("aspect_ratio", "perf"),
}
FAILED = {"id", "status", "model", "prompt", "error_message", "perf"}
MODERATED = "Content policy violation: prompt contains prohibited content"


async def _create(api: Api, **fields: Any) -> httpx.Response:
    answer = await api.http.post(PATH, json={"prompt": "a fox in fresh snow"} | fields)
    assert answer.status_code == 202, answer.text
    return answer


async def _read(api: Api, job: str) -> dict[str, Any]:
    answer = await api.http.get(f"{PATH}/{job}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def _set(api: Api, job: str, state: str, **columns: Any) -> None:
    """Write a state as a worker would leave it."""
    more = "".join(f", {name} = %s" for name in columns)
    await api.fetch(
        f"UPDATE job SET state = %s{more} WHERE id = %s RETURNING id",  # noqa: S608 - the test's own
        *(state, *columns.values(), job),
    )


async def test_a_creation_has_the_documents_fields_and_states_what_is_delivered(api: Api) -> None:
    answer = await _create(api, duration_seconds=8, resolution="1080p", aspect_ratio="16:9")
    job = answer.json()

    assert job.keys() == CREATED
    assert job["id"].startswith("job_vid_")
    assert (job["status"], job["model"]) == ("pending", "runway-gen3")
    assert job["prompt"] == "a fox in fresh snow"
    assert (job["duration_seconds"], job["resolution"]) == (8, "720p")
    assert job["estimated_cost_usd"] == 0.96  # 8 s at Runway's $0.12
    assert job["perf"].keys() == {"request_id", "model_used", "latency_ms"}
    assert job["perf"]["request_id"].startswith("req_vid_")
    assert job["perf"]["model_used"] == "runway-gen3"
    assert job["perf"]["latency_ms"] >= 1
    assert answer.headers["Longtake-Adapted"] == "resolution=720p (asked 1080p)"
    assert api.hints.sent


async def test_unset_fields_take_the_documents_defaults(api: Api) -> None:
    answer = await _create(api, model=None, colour="red", webhook_url=7, seed="x")
    job = answer.json()

    assert (job["model"], job["duration_seconds"], job["aspect_ratio"]) == (
        "runway-gen3",
        4,
        "16:9",
    )
    assert answer.headers["Longtake-Adapted"] == "resolution=720p (asked 1080p)"
    (row,) = await api.fetch("SELECT request, webhook FROM job")
    assert row["webhook"] is None
    assert row["request"].keys() & {"colour", "seed", "webhook_url"} == set()
    exact = await _create(api, resolution="720p")
    assert "Longtake-Adapted" not in exact.headers


async def test_each_status_has_exactly_its_fields(api: Api) -> None:
    created = (await _create(api)).json()
    job, request_id = created["id"], created["perf"]["request_id"]

    pending = await _read(api, job)
    assert pending.keys() == CREATED
    assert pending["perf"].keys() == created["perf"].keys()
    for state in ("submitting", "processing", "storing"):
        await _set(api, job, state)
        shown = await _read(api, job)
        assert shown.keys() == PROCESSING
        assert shown["status"] == "processing"
        assert 0 <= shown["progress_percent"] <= 100
        assert shown["estimated_remaining_seconds"] >= 0
    await api.fetch(
        "UPDATE output SET state = 'stored', key = 'k', sha256 = repeat('0', 64), bytes = 1, "
        "content_type = 'video/mp4' RETURNING id"
    )
    await api.fetch(
        "UPDATE job SET state = 'complete', cost_micros = 480000, accepted_at = now(), "
        "finished_at = now() + interval '45.234 s' RETURNING id"
    )
    done = await _read(api, job)
    assert done.keys() == COMPLETE
    assert done["status"] == "complete"
    assert done["video_url"].startswith(f"https://videos.test{NATIVE}/{job}/content/0?")
    assert done["perf"] == {
        "request_id": request_id,
        "model_used": "runway-gen3",
        "generation_time_ms": 45234,
        "cost_usd": created["estimated_cost_usd"],
    }
    link = httpx.URL(done["video_url"]).raw_path.decode()
    served = await api.http.get(link, headers={"Authorization": ""})
    assert served.status_code != 401


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (
            "failed",
            {"fault": "moderated", "code": "content_policy", "message": "Runway: SAFETY.INPUT"},
            MODERATED,
        ),
        (
            "failed",
            {"fault": "unknown", "code": "provider_unknown", "message": "Runway broke"},
            "Runway broke",
        ),
        ("failed", None, "Video generation failed"),
        (
            "cancelled",
            {"fault": "gone", "code": "cancelled", "message": "the job was cancelled"},
            "the job was cancelled",
        ),
    ],
)
async def test_a_job_without_a_video_failed_with_a_sentence(
    api: Api, state: str, error: dict[str, str] | None, message: str
) -> None:
    created = (await _create(api)).json()
    await _set(api, created["id"], state, error=json.dumps(error) if error else None)

    shown = await _read(api, created["id"])

    assert shown.keys() == FAILED
    assert (shown["status"], shown["error_message"]) == ("failed", message)
    assert shown["perf"] == {
        "request_id": created["perf"]["request_id"],
        "model_used": "runway-gen3",
    }


async def test_a_poll_never_gets_a_word_that_it_waits_for_in_vain(api: Api) -> None:
    job = (await _create(api)).json()["id"]
    final = {"complete", "failed"}
    for state in JobState:
        await _set(api, job, state)
        status = (await _read(api, job))["status"]
        assert status in {"pending", "processing", *final}
        assert (status in final) == state.is_final


@asynccontextmanager
async def _serving(database_url: str, folder: Path, **environment: str) -> AsyncIterator[Api]:
    """The API with more in its environment."""
    own = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(folder)}
    hints = Hints()
    app = create_app(load({**ENVIRONMENT, **own, **environment}), hinter=lambda: hints)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as http,
    ):
        made = Api(app=app, http=http, hints=hints, key="")
        http.headers["Authorization"] = f"Bearer {await made.new_key('acme')}"
        yield made


async def test_every_value_of_the_document_is_accepted_and_every_change_is_told(
    database_url: str, tmp_path: Path, anyio_backend: str
) -> None:
    """Runway makes two of the models, Luma and fal the others."""
    async with _serving(database_url, tmp_path, LUMAAI_API_KEY="l", FAL_KEY="f") as api:
        for model, resolution, ratio in product(MODELS, RESOLUTIONS, RATIOS):
            asked = {
                "model": model,
                "duration_seconds": 4,
                "resolution": resolution,
                "aspect_ratio": ratio,
            }
            answer = await _create(api, **asked)
            told = answer.headers.get("Longtake-Adapted", "")
            job = answer.json()
            assert (job["model"], job["perf"]["model_used"]) == (model, model)
            changes = [
                f"{name}={job[name]} (asked {value})"
                for name, value in asked.items()
                if job[name] != value
            ]
            assert told == ", ".join(changes)


DOCUMENTED = """
[models."gen4.5".routes.runway]
durations = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
resolution = "1080p"
[models."gen4.5".routes.runway.frames]
1080p = { "16:9" = "1920x1080", "9:16" = "1080x1920" }
[models."gen4.5".routes.runway.image_frames]
1080p = { "16:9" = "1920x1080" }
[models."gen4.5".routes.runway.price]
usd_per_second = { 720p = "0.10", 1080p = "0.10" }
"""


@pytest.fixture
async def documented(database_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Api]:
    """The API with a catalogue whose Runway has Perf's own numbers."""
    path = tmp_path / "perf.toml"
    path.write_text(DOCUMENTED, encoding="utf-8")
    async with _serving(database_url, tmp_path, LONGTAKE_CATALOG=str(path)) as api:
        yield api


async def test_with_perfs_numbers_in_the_catalogue_the_answers_are_the_documents(
    documented: Api,
) -> None:
    answer = await _create(documented, model="runway-gen3", duration_seconds=8)
    job = answer.json()
    assert "Longtake-Adapted" not in answer.headers
    assert (job["duration_seconds"], job["resolution"], job["aspect_ratio"]) == (8, "1080p", "16:9")
    assert job["estimated_cost_usd"] == 0.80
    assert (await _create(documented, duration_seconds=1)).json()["estimated_cost_usd"] == 0.10
    assert (await _create(documented, duration_seconds=16)).json()["duration_seconds"] == 16

    refused = await documented.http.post(PATH, json={"prompt": "a", "duration_seconds": 17})
    message = "duration_seconds exceeds maximum of 16 for runway-gen3 model"
    assert refused.status_code == 400
    assert refused.json() == {"error": {"type": "invalid_request", "message": message}}


async def test_a_repeat_is_answered_though_the_model_can_not_make_it_any_more(
    api: Api, database_url: str, tmp_path: Path
) -> None:
    headers = {"Idempotency-Key": "order-1"}
    asked = {"prompt": "a", "duration_seconds": 10}
    first = await api.http.post(PATH, json=asked, headers=headers)
    (tmp_path / "less.toml").write_text(
        '[models."gen4.5".routes.runway]\ndurations = [5]\n', encoding="utf-8"
    )
    catalog = str(tmp_path / "less.toml")
    async with _serving(database_url, tmp_path, LONGTAKE_CATALOG=catalog) as later:
        again = await later.http.post(PATH, json=asked, headers=headers)
        other = await later.http.post(PATH, json=asked)

    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 400)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_double_slashes_are_one(api: Api) -> None:
    for path in ("/perf//v1/video/generations", "//perf/v1//video/generations"):
        answer = await api.http.post(f"http://api.test{path}", json={"prompt": "a"})
        assert answer.status_code == 202
        shown = await api.http.get(f"http://api.test{path}/{answer.json()['id']}")
        assert shown.json()["status"] == "pending"
        lost = await api.http.get(f"http://api.test{path}//nothing/here")
        assert lost.json()["error"].keys() == {"type", "message"}
    native = await api.http.post("http://api.test//v1/video/generations", json={"prompt": "a"})
    assert native.status_code == 404


async def test_the_answers_are_as_openapi_documents_them(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    operations = {
        method: each
        for path in document["paths"]
        if path.startswith("/perf/")
        for method, each in document["paths"][path].items()
    }
    created = (await _create(api)).json()
    lost = (await api.http.get(f"{PATH}/lost")).json()

    assert {tuple(each["tags"]) for each in operations.values()} == {("Perf",)}
    for operation, status, value in (
        (operations["post"], "202", created),
        (operations["get"], "200", await _read(api, created["id"])),
        (operations["get"], "404", lost),
    ):
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        Draft202012Validator(schema | {"components": document["components"]}).validate(value)
    body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"prompt", *DEFAULTS}
    assert {name: body["properties"][name]["default"] for name in DEFAULTS} == dict(DEFAULTS)
