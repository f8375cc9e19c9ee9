"""AI/ML API's errors: one shape with the request's path, and the document's sentences."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.body import MAX_BODY
from api.errors import Located
from models.budgets import make_prepaid
from models.keys import create_key
from models.limits import set_limits
from models.rows.limits import Holder
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
LEGACY_PATH = "/v2/generate/video/runway/generation"
PATH = "/v2/video/generations"
INVALID = "Body validation error! "
SHAPE = {"message", "path", "requestId", "statusCode", "timestamp"}


def _checked(answer: httpx.Response, status: int) -> str:
    """The message of an error that is one."""
    error = answer.json()
    assert answer.status_code == status, answer.text
    assert error.keys() == SHAPE
    assert error["statusCode"] == status
    assert error["path"] == answer.request.url.path
    assert error["requestId"] == answer.headers["X-Request-ID"]
    ago = datetime.now(UTC) - datetime.fromisoformat(error["timestamp"])
    assert timedelta(0) <= ago + timedelta(milliseconds=1) < timedelta(minutes=1)
    message: str = error["message"]
    return message


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        (LEGACY_PATH, {"prompt": None}, "prompt is required"),
        (LEGACY_PATH, {"prompt": ""}, "prompt is required"),
        (LEGACY_PATH, {"prompt": ["a"]}, "prompt is required"),
        (PATH, {}, "model is required"),
        (PATH, {"model": 7}, "model must be a string (it is 7)"),
        (
            LEGACY_PATH,
            {"model": "gen5"},
            (
                "model: Invalid enum value. Expected 'gen3a_turbo' | 'runway/gen4_turbo' | "
                "'runway-gen3/turbo/image-to-video', received 'gen5'"
            ),
        ),
        (
            LEGACY_PATH,
            {"ratio": "4:3"},
            "ratio: Invalid enum value. Expected '16:9' | '9:16', received '4:3'",
        ),
        (LEGACY_PATH, {"ratio": 1.5}, "ratio must be a string (it is 1.5)"),
        (
            LEGACY_PATH,
            {"duration": 7},
            "duration: Invalid enum value. Expected 5 | 10, received 7",
        ),
        (
            PATH,
            {"model": "google/veo-3.1-t2v", "duration": 60},
            "duration: Invalid enum value. Expected 4 | 6 | 8, received 60",
        ),
        (LEGACY_PATH, {"duration": "long"}, "duration must be a number (it is 'long')"),
        (LEGACY_PATH, {"duration": True}, "duration must be a number (it is True)"),
        (
            LEGACY_PATH,
            {"duration": 5.5},
            "duration: Invalid enum value. Expected 5 | 10, received 5.5",
        ),
        (
            PATH,
            {"model": "google/veo3", "resolution": "4k"},
            "resolution: Invalid enum value. Expected '720p' | '1080p', received '4k'",
        ),
        (
            LEGACY_PATH,
            {"seed": 2**32},
            "seed must be a whole number from 0 to 4294967295 (it is 4294967296)",
        ),
        (LEGACY_PATH, {"seed": -1}, "seed must be a whole number from 0 to 4294967295 (it is -1)"),
        (PATH, {"model": "google/veo3", "seed": 0.5}, "seed must be a whole number (it is 0.5)"),
        (LEGACY_PATH, {"watermark": "no"}, "watermark must be true or false (it is 'no')"),
        (
            LEGACY_PATH,
            {"image_url": "cat.png"},
            "image_url must be an http(s) URL or a base64 data:image/… URI (it is 'cat.png')",
        ),
        (
            LEGACY_PATH,
            {"last_image_url": "http://[x"},
            (
                "last_image_url must have an IPv6 address between its brackets, as in "
                "http://[2001:db8::1]/ (it is 'http://[x')"
            ),
        ),
        (LEGACY_PATH, {"n": 11}, "n must be a whole number from 1 to 10 (it is 11)"),
        (LEGACY_PATH, {"n": 0}, "n must be a whole number from 1 to 10 (it is 0)"),
        (
            LEGACY_PATH,
            {"response_format": "mp4"},
            "response_format: Invalid enum value. Expected 'url' | 'b64_json', received 'mp4'",
        ),
        (
            PATH,
            {"model": "klingai/v2.5-turbo/pro/text-to-video", "cfg_scale": 2},
            "cfg_scale must be a number from 0 to 1 (it is 2)",
        ),
        (PATH, {"model": "luma/ray-2", "keyframes": []}, "keyframes must be an object (it is [])"),
        (
            PATH,
            {"model": "google/veo3", "image_urls": [7]},
            (
                "image_urls must be a list, each element of which must be an http(s) URL or a "
                "base64 data:image/… URI (it is [7])"
            ),
        ),
    ],
)
async def test_a_wrong_value_is_400_in_the_documents_words(
    api: Api, path: str, fields: dict[str, Any], message: str
) -> None:
    answer = await api.http.post(path, json={"prompt": "a"} | fields)

    assert _checked(answer, 400) == INVALID + message
    assert (await api.counts())["job"] == 0


async def test_what_the_live_route_refuses_has_the_vendors_name_of_the_field(api: Api) -> None:
    long_one = "data:image/png;base64,iVBORw0KGgoA" + "A" * 6_000_000
    fields = {"model": "runway/gen4_turbo", "prompt": "a", "image_url": long_one}
    answer = await api.http.post(PATH, json=fields)
    message = _checked(answer, 400)
    assert message.startswith(f"{INVALID}image_url exceeds maximum of 5242880 bytes as a data URI")

    required = await api.http.post(
        PATH, json={"model": "kling-video/v2.1/pro/image-to-video", "prompt": "a"}
    )
    _checked(required, 503)  # nobody here has credentials


@pytest.mark.parametrize("prefix", ["", "/aimlapi"])
async def test_unknown_foreign_malformed_and_deleted_generations_are_one_404(
    api: Api, prefix: str
) -> None:
    async def created() -> str:
        answer = await api.http.post(prefix + LEGACY_PATH, json={"prompt": "a"})
        generation: str = answer.json()["id"]
        return generation

    foreign, deleted = await created(), await created()
    (row,) = await api.fetch("SELECT max(id) AS id FROM job")
    await api.http.delete(f"/v1/video/generations/{row['id']}")
    other = await api.new_key("other")
    for generation, key in (
        ("01a20008-3a47-1568-fa39-c86f9ebf66c4", api.key),
        (foreign, other),
        (deleted, api.key),
        ("", api.key),
        ("\0", api.key),
        ("undefined", api.key),
        ("x" * 3_000, api.key),
        (row["id"], api.key),
    ):
        for path in (PATH, LEGACY_PATH):
            answer = await api.http.get(
                prefix + path,
                params={"generation_id": generation},
                headers={"Authorization": f"Bearer {key}"},
            )
            assert _checked(answer, 404) == "Generation not found"


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/aimlapi", 404, "no such route: /aimlapi"),
        ("GET", "/v2", 404, "no such route: /v2"),
        ("POST", "/v2/images/generations", 404, "no such route: /v2/images/generations"),
        ("POST", "/v2/generate/video/nobody/generation", 404, "no such vendor: nobody; known: "),
        ("GET", "/v2/generate/video/nobody/generation?generation_id=x", 404, "no such vendor"),
        ("PUT", PATH, 405, "PUT is not allowed on this route"),
        ("DELETE", f"/aimlapi{LEGACY_PATH}", 405, "DELETE is not allowed on this route"),
        ("GET", PATH, 400, "generation_id: Field required"),
        ("GET", LEGACY_PATH, 400, "generation_id: Field required"),
    ],
)
async def test_what_it_does_not_have_is_an_error_in_its_shape(
    api: Api, method: str, path: str, status: int, message: str
) -> None:
    body = {"prompt": "a"} if method == "POST" else None
    answer = await api.http.request(method, path, json=body)

    assert _checked(answer, status).startswith(message)


async def test_a_wrong_key_is_401(api: Api) -> None:
    for value in ("", "Bearer my_key", "Bearer lt_" + "x" * 32):
        for path in (PATH, LEGACY_PATH):
            headers = {"Authorization": value}
            answer = await api.http.post(path, json={"prompt": "a"}, headers=headers)
            message = _checked(answer, 401)
            assert message.startswith("This request requires a valid API key: ")


async def test_credits_that_are_used_up_are_403(api: Api) -> None:
    await api.front.engine.database.run(lambda connection: make_prepaid(connection, "acme"))

    answer = await api.http.post(LEGACY_PATH, json={"prompt": "a"})

    assert _checked(answer, 403).startswith("You've run out of credits: ")
    assert (await api.counts())["job"] == 0


async def test_a_limit_that_is_reached_is_429(api: Api) -> None:
    async def make(connection: Any) -> str:
        id_, plain = await create_key(connection, "acme")
        await set_limits(connection, Holder.KEY, id_, tier="free")
        return plain

    headers = {"Authorization": f"Bearer {await api.front.engine.database.run(make)}"}
    first = await api.http.post(LEGACY_PATH, json={"prompt": "a"}, headers=headers)
    refused = await api.http.post(LEGACY_PATH, json={"prompt": "a"}, headers=headers)

    assert first.headers["X-RateLimit-Limit"]
    assert _checked(refused, 429).startswith("Too Many Requests: ")
    assert int(refused.headers["Retry-After"]) >= 1


async def test_a_model_without_credentials_is_503_and_a_reused_key_422(api: Api) -> None:
    body = {"model": "minimax/hailuo-2.3", "prompt": "a"}
    away = await api.http.post(PATH, json=body)
    first, again, other = [
        await api.http.post(LEGACY_PATH, json={"prompt": p}, headers={"Idempotency-Key": "k"})
        for p in ("a", "a", "b")
    ]
    empty = await api.http.post(LEGACY_PATH, json={"prompt": "a"}, headers={"Idempotency-Key": ""})

    assert _checked(away, 503).startswith("Service unavailable: ")
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    _checked(other, 422)
    assert _checked(empty, 400).startswith("Idempotency-Key")


async def test_a_body_that_is_too_large_is_413_and_a_fault_of_ours_500(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = await api.http.post(LEGACY_PATH, content=b" " * (MAX_BODY + 1))
    assert "exceeds the maximum of 25 MB" in _checked(large, 413)

    def broken(*_: object, **__: object) -> None:
        msg = "inner knowledge"
        raise LookupError(msg)

    monkeypatch.setattr("api.dialects.aimlapi.wanted", broken)
    failed = await api.http.post(LEGACY_PATH, json={"prompt": "a"})
    assert _checked(failed, 500) == "Internal server error"


def test_its_renderer_is_the_one_that_knows_the_path(api: Api) -> None:
    renderers = api.app.state.renderers
    assert not isinstance(renderers.of("/v1/nothing"), Located)
    assert renderers.of("/v2/nothing").path == "/v2/nothing"
