"""Lunos' dialect: its document's fields for each status, its sentences and their codes."""

import json
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.auth import Keyring
from api.body import MAX_BODY
from models.budgets import make_prepaid
from models.database import Database
from models.keys import create_key
from models.limits import set_limits
from models.rows.limits import Holder
from models.state import JobState
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/lunos/v1/video/generations"
NATIVE = "/v1/video/generations"
MODEL = "google/veo-3.0-generate-preview"
ASK = {"model": MODEL, "prompt": "a lion on a hill at dawn"}
MISSING = "Missing required fields: model and prompt"
NOT_STARTED = "Failed to start video generation"


async def _create(api: Api, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    answer = await api.http.post(PATH, json=ASK | fields, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def _read(api: Api, operation: str) -> dict[str, Any]:
    answer = await api.http.get(f"{PATH}/{operation}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def _row(api: Api) -> dict[str, Any]:
    (row,) = await api.fetch("SELECT id, model, request, plan, app_id FROM job")
    return row


async def test_every_field_of_the_document_makes_a_job(api: Api) -> None:
    answer = await _create(
        api,
        headers={"X-App-ID": "your-app-id"},
        parameters={"aspectRatio": "16:9", "negativePrompt": "drawing, blurry"},
        response_format="mp4",
    )
    created = answer.json()
    row = await _row(api)

    assert created.keys() == {"id", "operation_name", "status"}
    assert re.fullmatch(r"video-op:[0-9a-z]{16}:\d{13}", created["id"])
    assert re.fullmatch(r"operations/veo-3\.0-generate-preview/\d+", created["operation_name"])
    assert created["status"] == "pending"
    assert row["app_id"] == "your-app-id"
    assert (row["model"], row["plan"]["model"], row["plan"]["aspect_ratio"]) == (
        MODEL,
        "veo3.1",
        "16:9",
    )
    assert row["request"]["negative_prompt"] == "drawing, blurry"
    assert api.hints.sent


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"parameters": {}},
        {"parameters": None, "response_format": None, "appId": None, "user": None},
        {"parameters": {"aspectRatio": None, "negativePrompt": "", "fps": "many"}, "n": "x"},
        {"user": 7, "appId": ""},
        {"user": "x" * 10_000},
    ],
)
async def test_what_is_optional_or_unknown_may_be_anything(api: Api, fields: Any) -> None:
    created = (await _create(api, **fields)).json()

    assert await _read(api, created["id"]) == {"id": created["id"], "status": "pending"}
    row = await _row(api)
    assert "metadata" not in row["request"]
    assert row["request"].get("negative_prompt") is None


async def test_the_app_is_the_headers_or_the_bodys_and_the_user_is_kept(api: Api) -> None:
    await _create(api, appId="my-video-app", user="ann")
    row = await _row(api)
    assert (row["app_id"], row["request"]["metadata"]) == ("my-video-app", {"user": "ann"})

    await _create(api, headers={"X-App-ID": "the-headers"}, appId="my-video-app")
    rows = await api.fetch("SELECT app_id FROM job ORDER BY id")
    assert [row["app_id"] for row in rows] == ["my-video-app", "the-headers"]


async def test_two_operations_have_two_names(api: Api) -> None:
    made = [(await _create(api)).json() for _ in range(2)]

    assert len({each["id"] for each in made}) == len({each["operation_name"] for each in made}) == 2


async def test_each_status_has_exactly_its_fields(api: Api) -> None:
    operation = (await _create(api)).json()["id"]
    job = (await _row(api))["id"]

    for state in ("pending", "submitting", "processing", "storing"):
        await api.fetch("UPDATE job SET state = %s RETURNING id", state)
        assert await _read(api, operation) == {"id": operation, "status": "pending"}
    await api.fetch(
        "UPDATE output SET state = 'stored', key = 'k', sha256 = repeat('0', 64), bytes = 1, "
        "content_type = 'video/mp4' RETURNING id"
    )
    await api.fetch("UPDATE job SET state = 'complete', finished_at = now() RETURNING id")

    done = await _read(api, operation)

    assert done.keys() == {"id", "status", "video_url"}
    assert (done["id"], done["status"]) == (operation, "completed")
    assert done["video_url"].startswith(f"https://videos.test{NATIVE}/{job}/content/0?")
    link = httpx.URL(done["video_url"]).raw_path.decode()
    assert (await api.http.get(link, headers={"Authorization": ""})).status_code != 401


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        (
            "failed",
            {"fault": "moderated", "code": "content_policy", "message": "Runway: SAFETY.INPUT"},
            "Runway: SAFETY.INPUT",
        ),
        (
            "failed",
            {"fault": "gone", "code": "deadline_exceeded", "message": "no video in time"},
            "no video in time",
        ),
        ("failed", None, "Video generation failed"),
        (
            "cancelled",
            {"fault": "gone", "code": "cancelled", "message": "the job was cancelled"},
            "the job was cancelled",
        ),
    ],
)
async def test_a_job_without_a_video_failed_with_a_string(
    api: Api, state: str, error: dict[str, str] | None, says: str
) -> None:
    operation = (await _create(api)).json()["id"]
    await api.fetch(
        "UPDATE job SET state = %s, error = %s RETURNING id",
        *(state, json.dumps(error) if error else None),
    )

    assert await _read(api, operation) == {"id": operation, "status": "failed", "error": says}


async def test_a_poll_never_gets_a_word_that_it_waits_for_in_vain(api: Api) -> None:
    operation = (await _create(api)).json()["id"]
    for state in JobState:
        await api.fetch("UPDATE job SET state = %s RETURNING id", state)
        status = (await _read(api, operation))["status"]
        assert status in {"pending", "completed", "failed"}
        assert (status != "pending") == state.is_final


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, MISSING),
        ({"prompt": "a"}, 400, MISSING),
        ({"model": MODEL}, 400, MISSING),
        ({"model": MODEL, "prompt": "  "}, 400, MISSING),
        ({"model": MODEL, "prompt": None}, 400, MISSING),
        ({"model": [], "prompt": {}}, 400, MISSING),
        ({"model": "google/veo-4", "prompt": "a"}, 404, "Model not found"),
        ({"model": "runway-gen3", "prompt": "a"}, 404, "Model not found"),
        (
            ASK | {"parameters": {"aspectRatio": "9:16"}},
            400,
            "parameters.aspectRatio must be one of 16:9 (it is '9:16')",
        ),
        (
            ASK | {"parameters": {"negativePrompt": 7}},
            400,
            "parameters.negativePrompt must be a string (it is 7)",
        ),
        (ASK | {"parameters": "16:9"}, 400, "parameters must be an object (it is '16:9')"),
        (
            ASK | {"response_format": "gif"},
            400,
            "response_format must be one of mp4 (it is 'gif')",
        ),
        (ASK | {"appId": {}}, 400, "appId must be a string (it is {})"),
        (
            ASK | {"appId": "x" * 256},
            400,
            "appId must be 1 to 255 printable characters (it has 256)",
        ),
        ([], 400, "the request body must be a JSON object"),
        ("a", 400, "the request body must be a JSON object"),
    ],
)
async def test_a_wrong_request_is_one_sentence(
    api: Api, body: Any, status: int, message: str
) -> None:
    answer = await api.http.post(PATH, json=body)

    assert answer.status_code == status
    assert answer.json() == {"error": message}
    assert (await api.counts())["job"] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"model": "a", "prompt": "\xff"}',
        b'{"model": "a", "prompt": "a", "x": ' + b"[" * 100 + b"]" * 100 + b"}",
        b"[" * 100_000,
        b'{"prompt": "a", "prompt": "b"}',
        b'{"parameters": NaN}',
        b'{"x": ' + b"9" * 5_000 + b"}",
        b'{"prompt": "a\\u0000"}',
        b'{"prompt": "\\ud800"}',
        json.dumps(ASK | {"prompt": "x" * 30_000}).encode(),
        b" " * (MAX_BODY + 1),
    ],
    ids=range(13),
)
async def test_a_body_that_is_no_request_is_the_same_400(api: Api, content: bytes) -> None:
    answer = await api.http.post(PATH, content=content)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert isinstance(answer.json()["error"], str)
    assert len(answer.json()["error"]) < 200
    assert (await api.counts())["job"] == 0


async def test_unknown_foreign_malformed_and_deleted_operations_are_one_404(api: Api) -> None:
    foreign = (await _create(api)).json()["id"]
    deleted = (await _create(api)).json()["id"]
    (newest,) = await api.fetch("SELECT max(id) AS id FROM job")
    await api.http.delete(f"{NATIVE}/{newest['id']}")
    other = await api.new_key("other")

    for operation, key in (
        ("video-op:user123:1703123456789", api.key),
        (f"video-op:{'0' * 16}:1703123456789", api.key),
        (foreign, other),
        (deleted, api.key),
        (newest["id"], api.key),
        ("%00", api.key),
        ("undefined", api.key),
        ("video-op:" + "x" * 3_000, api.key),
    ):
        headers = {"Authorization": f"Bearer {key}"}
        answer = await api.http.get(f"{PATH}/{operation}", headers=headers)
        assert answer.status_code == 404
        assert answer.json() == {"error": "Operation not found"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/lunos", 404),
        ("GET", "/lunos/v1/models", 404),
        ("PUT", PATH, 405),
        ("GET", PATH, 405),
        ("DELETE", f"{PATH}/video-op:user123:1", 405),
    ],
)
async def test_what_lunos_does_not_have_is_an_error_in_its_shape(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = await api.http.request(method, path)

    assert answer.status_code == status
    assert answer.json().keys() == {"error"}


async def test_keys_and_repeated_requests_have_errors_in_its_shape(api: Api) -> None:
    for value in ("", "Bearer YOUR_API_KEY", "Bearer lt_" + "x" * 32):
        refused = await api.http.post(PATH, json=ASK, headers={"Authorization": value})
        assert refused.status_code == 401
        assert refused.json().keys() == {"error"}
    key = {"Idempotency-Key": "k"}

    first = await api.http.post(PATH, json=ASK, headers=key)
    again = await api.http.post(PATH, json=ASK, headers=key)
    other = await api.http.post(PATH, json=ASK | {"prompt": "b"}, headers=key)

    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 422
    assert other.json().keys() == {"error"}


async def test_an_empty_balance_is_the_documents_402(api: Api) -> None:
    await api.front.engine.database.run(lambda connection: make_prepaid(connection, "acme"))

    answer = await api.http.post(PATH, json=ASK)

    assert (answer.status_code, answer.json()) == (402, {"error": "Insufficient balance"})
    assert (await api.counts())["job"] == 0


async def test_a_reached_limit_is_429_with_retry_after(api: Api) -> None:
    async def make(connection: Any) -> str:
        id_, plain = await create_key(connection, "acme")
        await set_limits(connection, Holder.KEY, id_, tier="free")
        return plain

    plain = await api.front.engine.database.run(make)
    headers = {"Authorization": f"Bearer {plain}"}
    await _create(api, headers=headers)

    refused = await api.http.post(PATH, json=ASK, headers=headers)

    assert refused.status_code == 429
    assert refused.json()["error"].startswith("the limit concurrent is reached")
    assert int(refused.headers["Retry-After"]) >= 1


async def test_whatever_is_our_fault_is_the_documents_500(api: Api) -> None:
    front = api.front
    own, keyring = front.engine, front.keyring
    front.engine = replace(own, accounts={})
    unavailable = await api.http.post(PATH, json=ASK)
    away = Database("postgresql://127.0.0.1:9/none", timeout=0.1)
    front.engine, front.keyring = replace(own, database=away), Keyring(away)
    lost = await api.http.post(PATH, json=ASK)
    await away.close()
    nothing: Any = None
    front.engine, front.keyring = replace(own, catalog=nothing), keyring
    broken = await api.http.post(PATH, json=ASK)
    front.engine = own

    for answer in (unavailable, lost, broken):
        assert (answer.status_code, answer.json()) == (500, {"error": NOT_STARTED})


async def test_a_base_address_that_ends_with_a_slash_is_served(api: Api) -> None:
    answer = await api.http.post("http://api.test/lunos//v1/video/generations", json=ASK)
    assert answer.status_code == 200
