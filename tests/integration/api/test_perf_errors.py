"""Perf's errors: the documented ones word for word, the others in the envelope of its SDK."""

from typing import Any

import httpx
import pytest

from api.body import MAX_BODY
from models.budgets import make_prepaid
from models.keys import create_key
from models.limits import set_limits
from models.rows.limits import Holder
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH, NATIVE = "/perf/v1/video/generations", "/v1/video/generations"


async def _create(api: Api, **fields: Any) -> httpx.Response:
    answer = await api.http.post(PATH, json={"prompt": "a fox in fresh snow"} | fields)
    assert answer.status_code == 202, answer.text
    return answer


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "prompt is required"),
        ({"prompt": ""}, "prompt is required"),
        ({"prompt": "  "}, "prompt is required"),
        ({"prompt": None}, "prompt is required"),
        ({"prompt": ["a"]}, "prompt is required"),
        (
            {"prompt": "a", "duration_seconds": 17},
            "duration_seconds exceeds maximum of 10 for runway-gen3 model",
        ),
        (
            {"prompt": "a", "duration_seconds": 10**400},
            "duration_seconds exceeds maximum of 10 for runway-gen3 model",
        ),
        (
            {"prompt": "a", "duration_seconds": 0},
            "duration_seconds must be a positive number (it is 0)",
        ),
        ({"prompt": "a", "duration_seconds": "8"}, "duration_seconds must be a number (it is '8')"),
        (
            {"prompt": "a", "duration_seconds": True},
            "duration_seconds must be a number (it is True)",
        ),
        (
            {"prompt": "a", "model": "sora"},
            "model must be one of veo-3, runway-gen3, luma-dream-machine, pika (it is 'sora')",
        ),
        ({"prompt": "a", "model": {}}, "model must be a string (it is {})"),
        (
            {"prompt": "a", "resolution": "4k"},
            "resolution must be one of 720p, 1080p (it is '4k')",
        ),
        (
            {"prompt": "a", "aspect_ratio": "21:9"},
            "aspect_ratio must be one of 16:9, 9:16, 1:1, 4:3 (it is '21:9')",
        ),
        ([], "the request body must be a JSON object"),
        ("a", "the request body must be a JSON object"),
        (
            {"prompt": "a", "duration_seconds": -1e308},
            "duration_seconds must be a positive number (it is -1e+308)",
        ),
    ],
)
async def test_a_wrong_request_is_the_documents_400(api: Api, body: Any, message: str) -> None:
    answer = await api.http.post(PATH, json=body)

    assert answer.status_code == 400
    assert answer.json() == {"error": {"type": "invalid_request", "message": message}}
    assert (await api.counts())["job"] == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "a", "x": ' + b"[" * 100 + b"]" * 100 + b"}",
        b"[" * 100_000,
        b'{"prompt": "a", "prompt": "b"}',
        b'{"prompt": "a", "duration_seconds": NaN}',
        b'{"prompt": "a", "duration_seconds": 1e999}',
        b'{"prompt": "a", "x": ' + b"9" * 5_000 + b"}",
        b'{"prompt": "a\\u0000"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "' + b"x" * 30_000 + b'"}',
        b" " * (MAX_BODY + 1),
    ],
    ids=range(14),
)
async def test_a_body_that_is_no_request_is_the_same_400(api: Api, content: bytes) -> None:
    answer = await api.http.post(PATH, content=content)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"].keys() == {"type", "message"}
    assert answer.json()["error"]["type"] == "invalid_request"


async def test_unknown_foreign_malformed_and_deleted_jobs_are_one_404(api: Api) -> None:
    foreign = (await _create(api)).json()["id"]
    deleted = (await _create(api)).json()["id"]
    await api.http.delete(f"{NATIVE}/{deleted}")
    other = await api.new_key("other")

    for job, key in (
        ("job_vid_abc123", api.key),
        (foreign, other),
        (deleted, api.key),
        ("%00", api.key),
        ("undefined", api.key),
        ("x" * 3_000, api.key),
    ):
        answer = await api.http.get(f"{PATH}/{job}", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 404
        error = {"type": "not_found", "message": "Video generation job not found"}
        assert answer.json() == {"error": error}


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/perf", 404, "not_found"),
        ("GET", "/perf/v1/images", 404, "not_found"),
        ("PUT", PATH, 405, "method_not_allowed"),
        ("GET", PATH, 405, "method_not_allowed"),
        ("DELETE", f"{PATH}/job_vid_1", 405, "method_not_allowed"),
    ],
)
async def test_what_perf_does_not_have_is_an_error_in_its_shape(
    api: Api, method: str, path: str, status: int, kind: str
) -> None:
    answer = await api.http.request(method, path)

    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind


async def test_errors_beyond_the_document_are_the_sdks_envelope(api: Api) -> None:
    unauthorized = [
        await api.http.post(PATH, json={"prompt": "a"}, headers={"Authorization": value})
        for value in ("", "Bearer pk_live_abc123", "Bearer lt_" + "x" * 32)
    ]
    without_luma = await api.http.post(PATH, json={"prompt": "a", "model": "luma-dream-machine"})
    first = await api.http.post(PATH, json={"prompt": "a"}, headers={"Idempotency-Key": "k"})
    again = await api.http.post(PATH, json={"prompt": "a"}, headers={"Idempotency-Key": "k"})
    other = await api.http.post(PATH, json={"prompt": "b"}, headers={"Idempotency-Key": "k"})

    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    for answer, status, kind, code in (
        *((each, 401, "authentication_error", "invalid_api_key") for each in unauthorized),
        (without_luma, 503, "server_error", "model_unavailable"),
        (other, 422, "idempotency_mismatch", "idempotency_mismatch"),
    ):
        error = answer.json()["error"]
        assert answer.status_code == status
        assert error.keys() == {"type", "code", "message", "request_id"}
        assert (error["type"], error["code"]) == (kind, code)
        assert error["request_id"] == answer.headers["X-Request-ID"]


async def _limited(api: Api, tier: str) -> str:
    async def make(connection: Any) -> str:
        id_, plain = await create_key(connection, tier)
        await set_limits(connection, Holder.KEY, id_, tier=tier)
        return plain

    return await api.front.engine.database.run(make)


@pytest.mark.parametrize(("tier", "concurrent", "per_day"), [("free", 1, 5), ("pro", 5, 100)])
async def test_the_documents_tiers(api: Api, tier: str, concurrent: int, per_day: int) -> None:
    headers = {"Authorization": f"Bearer {await _limited(api, tier)}"}
    ask = {"prompt": "a"}
    jobs = [(await api.http.post(PATH, json=ask, headers=headers)) for _ in range(concurrent)]
    assert {each.status_code for each in jobs} == {202}

    refused = await api.http.post(PATH, json=ask, headers=headers)
    assert refused.status_code == 429
    assert refused.json()["error"].keys() == {"type", "code", "message", "request_id"}
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["Retry-After"]) >= 1
    assert "concurrent" in refused.json()["error"]["message"]
    for job in jobs:
        await api.http.post(f"{NATIVE}/{job.json()['id']}/cancel", headers=headers)
    await api.fetch("UPDATE rate_limit SET day_used = %s RETURNING id", per_day)
    spent = await api.http.post(PATH, json=ask, headers=headers)
    assert spent.status_code == 429
    assert spent.json()["error"]["code"] == "usage_limit_exceeded"
    assert spent.headers["X-RateLimit-Limit"] == str(per_day)


async def test_an_empty_balance_is_402_in_perfs_shape(api: Api) -> None:
    await api.front.engine.database.run(lambda connection: make_prepaid(connection, "acme"))

    answer = await api.http.post(PATH, json={"prompt": "a"})

    assert answer.status_code == 402
    error = answer.json()["error"]
    assert error.keys() == {"type", "code", "message", "request_id"}
    assert (error["type"], error["code"]) == ("insufficient_balance", "insufficient_balance")
    assert (await api.counts())["job"] == 0
