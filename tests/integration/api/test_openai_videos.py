"""The OpenAI Videos dialect: its fields, its pages, its envelope for every error."""

import json
from base64 import b64encode
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
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
from settings import Settings, load
from storage.base import video_key
from tests.integration.api.conftest import ENVIRONMENT, Api
from tests.integration.api.stored import film

pytestmark = pytest.mark.anyio
PATH = "/v1/videos"
NATIVE = "/v1/video/generations"
VIDEO = {
    *("id", "object", "model", "status", "progress", "prompt", "created_at", "completed_at"),
    *("expires_at", "seconds", "size", "error", "remixed_from_video_id"),
}
ERROR = {"message", "type", "param", "code"}
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 16
SORA = "must be one of 4, 8, 12"
SIZES = "720x1280, 1280x720, 1024x1792, 1792x1024"


@pytest.fixture
def api_settings(database_url: str, tmp_path: Path) -> Settings:
    """A gateway that makes Sora's models, and Runway."""
    own = {
        "LONGTAKE_DATABASE_URL": database_url,
        "LONGTAKE_DATA_DIR": str(tmp_path),
        "LONGTAKE_KEEP_VIDEOS_DAYS": "30",
        "OPENAI_API_KEY": "sk-for-tests-of-the-api",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }
    return load(ENVIRONMENT | own)


async def _create(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post(PATH, json={"prompt": "a fox in fresh snow"} | fields)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _read(api: Api, video: str) -> dict[str, Any]:
    answer = await api.http.get(f"{PATH}/{video}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def _fault(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    fault: dict[str, Any] = answer.json()["error"]
    assert fault.keys() == ERROR
    return fault


async def test_a_creation_has_the_types_fields_and_the_apis_defaults(api: Api) -> None:
    answer = await api.http.post(PATH, json={"prompt": "a fox", "colour": "red", "model": None})
    video = answer.json()
    (job,) = await api.fetch("SELECT id, created_at, plan FROM job")

    assert answer.status_code == 200
    assert answer.headers["openai-poll-after-ms"] == "2000"
    assert "Longtake-Adapted" not in answer.headers
    assert video == {
        "id": job["id"].replace("job_vid_", "video_"),
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "progress": 0,
        "prompt": "a fox",
        "created_at": int(job["created_at"].timestamp()),
        "completed_at": None,
        "expires_at": None,
        "seconds": "4",
        "size": "720x1280",
        "error": None,
        "remixed_from_video_id": None,
    }
    assert job["plan"]["provider"] == "openai_videos"
    assert api.hints.sent


@pytest.mark.parametrize(
    "model",
    [
        *("sora-2", "sora-2-pro", "sora-2-2025-10-06", "sora-2-pro-2025-10-06"),
        "sora-2-2025-12-08",
    ],
)
async def test_every_value_of_the_types_is_made(api: Api, model: str) -> None:
    values: list[tuple[Any, str]] = [
        *(("4", "720x1280"), ("8", "1280x720"), ("12", "1024x1792"), (8, "1792x1024")),
    ]
    for seconds, size in values:
        body = {"prompt": "a", "model": model, "seconds": seconds, "size": size}
        answer = await api.http.post(PATH, json=body)
        video = answer.json()

        assert (video["model"], video["seconds"]) == (model, str(seconds))
        if "pro" in model or "720" in size:
            assert (video["size"], answer.headers.get("Longtake-Adapted")) == (size, None)
        else:  # sora-2 has no such frames
            nearest = {"1024x1792": "720x1280", "1792x1024": "1280x720"}[size]
            assert video["size"] == nearest
            assert answer.headers["Longtake-Adapted"] == f"size={nearest} (asked {size})"


@pytest.mark.parametrize("seconds", ["4", 4, 4.0], ids=repr)
async def test_seconds_may_be_a_number(api: Api, seconds: object) -> None:
    assert (await _create(api, seconds=seconds))["seconds"] == "4"


async def test_another_model_of_the_catalogue_has_its_own_seconds(api: Api) -> None:
    video = await _create(api, model="runway-gen3", seconds="5", size="1920x1080")

    assert (video["model"], video["seconds"], video["size"]) == ("runway-gen3", "5", "1280x720")
    too_long = await api.http.post(
        PATH, json={"prompt": "a", "model": "runway-gen3", "seconds": "12"}
    )
    fault = _fault(too_long, 400)
    assert fault["message"] == "seconds exceeds maximum of 10 for runway-gen3 model"
    assert (fault["param"], fault["code"]) == ("seconds", "invalid_value")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + b"\x00" * 16, "image/jpeg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
    ids=["png", "jpeg", "webp"],
)
async def test_a_form_with_a_picture_is_the_same_request_as_json(
    api: Api, head: bytes, kind: str
) -> None:
    uri = f"data:{kind};base64,{b64encode(head).decode()}"
    fields = {"prompt": "a", "model": "sora-2-pro", "seconds": "8", "size": "1280x720"}
    reference = {"input_reference": {"image_url": uri}}
    key = {"Idempotency-Key": "k"}

    form = await api.http.post(
        PATH, data=fields, files={"input_reference": ("upload", head)}, headers=key
    )
    as_json = await api.http.post(PATH, json=fields | reference, headers=key)

    assert form.status_code == 200, form.text
    assert as_json.headers["Idempotent-Replayed"] == "true"
    assert form.json() == as_json.json()
    assert (form.json()["seconds"], form.json()["size"]) == ("8", "1280x720")
    assert "Longtake-Adapted" not in form.headers  # the picture was not dropped


async def test_a_form_may_name_the_pictures_address(api: Api) -> None:
    address = "https://pictures.test/a.png"
    files = {"prompt": (None, "a"), "input_reference[image_url]": (None, address)}

    answer = await api.http.post(PATH, files=files)

    assert answer.status_code == 200, answer.text


async def test_each_status_has_its_word_and_its_times(api: Api) -> None:
    video = await _create(api)
    expected = {
        JobState.PENDING: "queued",
        JobState.SUBMITTING: "in_progress",
        JobState.PROCESSING: "in_progress",
        JobState.STORING: "in_progress",
        JobState.COMPLETE: "completed",
        JobState.FAILED: "failed",
        JobState.CANCELLED: "failed",
    }
    assert expected.keys() == set(JobState)
    finished = datetime.fromisoformat("2026-11-20T12:00:00+00:00")
    for state, word in expected.items():
        at = finished if state.is_final else None
        await api.fetch("UPDATE job SET state = %s, finished_at = %s RETURNING id", state, at)
        answer = await api.http.get(f"{PATH}/{video['id']}")
        shown = answer.json()
        assert shown.keys() == VIDEO
        assert (shown["id"], shown["status"]) == (video["id"], word)
        assert ("openai-poll-after-ms" in answer.headers) == (not state.is_final)
        assert (shown["error"] is not None) == (word == "failed")
        completed_at = int(finished.timestamp()) if word == "completed" else None
        assert shown["completed_at"] == completed_at
        assert shown["expires_at"] == (completed_at and completed_at + 30 * 86_400)


@pytest.mark.parametrize(
    ("state", "error", "shown"),
    [
        (
            "failed",
            {"fault": "moderated", "code": "content_policy", "message": "no"},
            {"code": "moderation_blocked", "message": "no"},
        ),
        (
            "cancelled",
            {"fault": "gone", "code": "cancelled", "message": "the job was cancelled"},
            {"code": "cancelled", "message": "the job was cancelled"},
        ),
        (
            "failed",
            None,
            {"code": "video_generation_failed", "message": "Video generation failed"},
        ),
    ],
)
async def test_a_job_without_a_video_failed_with_a_code(
    api: Api, state: str, error: dict[str, str] | None, shown: dict[str, str]
) -> None:
    video = (await _create(api))["id"]
    await api.fetch(
        "UPDATE job SET state = %s, error = %s RETURNING id",
        *(state, json.dumps(error) if error else None),
    )

    assert (await _read(api, video))["error"] == shown


async def test_pages_go_both_ways_over_all_jobs_of_the_tenant(api: Api) -> None:
    first = (await _create(api))["id"]
    native = (await api.submit())["id"].replace("job_vid_", "video_")
    last = (await _create(api))["id"]
    other = await api.new_key("other")

    async def ids(query: str) -> tuple[list[str], bool]:
        page = (await api.http.get(f"{PATH}?{query}")).json()
        assert page.keys() == {"object", "data", "first_id", "last_id", "has_more"}
        assert page["object"] == "list"
        found = [each["id"] for each in page["data"]]
        assert [page["first_id"], page["last_id"]] == (
            [found[0], found[-1]] if found else [None] * 2
        )
        return found, page["has_more"]

    assert await ids("") == ([last, native, first], False)
    assert await ids("limit=2&order=desc&colour=red") == ([last, native], True)
    assert await ids(f"limit=2&after={native}") == ([first], False)
    assert await ids("limit=1&order=asc") == ([first], True)
    assert await ids(f"limit=2&order=asc&after={first}") == ([native, last], False)
    assert await ids(f"after={first}") == ([], False)
    foreign = await api.http.get(PATH, headers={"Authorization": f"Bearer {other}"})
    assert foreign.json()["data"] == []
    headers = {"Authorization": f"Bearer {other}"}
    for answer in (
        await api.http.get(f"{PATH}?after={native}", headers=headers),
        await api.http.get(f"{PATH}?after=video_nope"),
    ):
        assert _fault(answer, 404)["message"] == "Video not found"
    await api.http.delete(f"{PATH}/{native}")  # while it is paged by
    assert await ids(f"after={native}") == ([first], False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("limit=", "limit"),
        ("limit=-1", "limit"),
        ("order=newest", "order"),
        ("after=%00", "after"),
    ],
)
async def test_a_wrong_page_is_refused(api: Api, query: str, param: str) -> None:
    fault = _fault(await api.http.get(f"{PATH}?{query}"), 400)
    assert (fault["type"], fault["param"]) == ("invalid_request_error", param)


async def test_a_deleted_video_is_gone(api: Api) -> None:
    video = (await _create(api))["id"]

    for _ in range(2):
        deleted = await api.http.delete(f"{PATH}/{video}")
        assert deleted.status_code == 200
        assert deleted.json() == {"id": video, "object": "video.deleted", "deleted": True}

    fault = _fault(await api.http.get(f"{PATH}/{video}"), 404)
    assert (fault["message"], fault["type"]) == ("Video not found", "invalid_request_error")
    assert (await api.http.get(PATH)).json()["data"] == []
    assert (await api.fetch("SELECT state FROM job")) == [{"state": "cancelled"}]


async def _stored(api: Api, content: bytes, folder: Path) -> str:
    """A completed video of these bytes."""
    video = (await _create(api))["id"]
    (row,) = await api.fetch(
        "SELECT output.id, job, job.created_at FROM output JOIN job ON job.id = job"
    )
    key = video_key(row["job"], row["id"], row["created_at"])
    file = folder / "video.mp4"
    file.write_bytes(content)
    await api.front.engine.storage.put_file(key, file, content_type="video/mp4")
    await api.fetch(
        "UPDATE output SET state = 'stored', key = %s, sha256 = %s, bytes = %s, "
        "content_type = 'video/mp4' RETURNING id",
        *(key, sha256(content).hexdigest(), len(content)),
    )
    await api.fetch("UPDATE job SET state = 'complete', finished_at = now() RETURNING id")
    return str(video)


async def test_the_content_is_the_video_in_ranges_to_its_owner(api: Api, tmp_path: Path) -> None:
    video = await _stored(api, bytes(range(200)), tmp_path)
    address = f"{PATH}/{video}/content"

    whole = await api.http.get(address, params={"variant": "video"})
    part = await api.http.get(address, headers={"Range": "bytes=10-19"})
    past = await api.http.get(address, headers={"Range": "bytes=200-"})
    unowned = await api.http.get(address, headers={"Authorization": ""})

    assert (whole.status_code, whole.content) == (200, bytes(range(200)))
    assert whole.headers["Content-Type"] == "video/mp4"
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["Content-Range"] == "bytes 10-19/200"
    assert _fault(past, 416)["type"] == "invalid_request_error"
    assert past.headers["Content-Range"] == "bytes */200"
    assert _fault(unowned, 401)["code"] == "invalid_api_key"
    fault = _fault(await api.http.get(address, params={"variant": "poster"}), 400)
    assert fault["param"] == "variant"


async def test_a_thumbnail_and_a_spritesheet_are_made_of_the_video(
    api: Api, tmp_path: Path
) -> None:
    video = await _stored(api, film(tmp_path), tmp_path)
    address = f"{PATH}/{video}/content"

    thumbnail, sheet, unowned = [
        await api.http.get(address, params={"variant": variant}, headers=headers)
        for variant, headers in (
            *(("thumbnail", {}), ("spritesheet", {})),
            ("thumbnail", {"Authorization": ""}),
        )
    ]

    assert {thumbnail.status_code, sheet.status_code} == {200}
    assert thumbnail.headers["Content-Type"] == sheet.headers["Content-Type"] == "image/jpeg"
    assert thumbnail.content[:2] == sheet.content[:2] == b"\xff\xd8"
    assert thumbnail.content != sheet.content
    assert _fault(unowned, 401)["code"] == "invalid_api_key"


async def test_there_is_no_content_before_the_end(api: Api) -> None:
    video = (await _create(api))["id"]

    fault = _fault(await api.http.get(f"{PATH}/{video}/content"), 404)

    assert fault["code"] == "video_not_stored"
    assert fault["message"] == (
        "the video has no content; GET /v1/videos/{video_id} tells its status"
    )


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("POST", "/{video}/remix", "remix"),
        ("POST", "/edits", "edits"),
        ("POST", "/extensions", "extensions"),
        ("POST", "/characters", "characters"),
        ("GET", "/characters/char_1", "characters"),
    ],
)
async def test_what_needs_a_video_as_input_says_that_it_is_not_supported(
    api: Api, method: str, path: str, what: str
) -> None:
    answer = await api.http.request(method, PATH + path, content=b" " * 3_000_000)

    fault = _fault(answer, 400)
    assert fault["code"] == "not_supported"
    assert fault["message"] == (
        f"{what} is not supported: no model of the catalogue takes a video; "
        "POST /v1/videos makes a new one"
    )


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "prompt", "prompt is required"),
        ({"prompt": " "}, "prompt", "prompt is required"),
        ({"prompt": ["a"]}, "prompt", "prompt is required"),
        ({"prompt": "a", "seconds": "5"}, "seconds", f"seconds {SORA} (it is '5')"),
        ({"prompt": "a", "seconds": 5}, "seconds", f"seconds {SORA} (it is 5)"),
        ({"prompt": "a", "seconds": "four"}, "seconds", f"seconds {SORA} (it is 'four')"),
        ({"prompt": "a", "seconds": ""}, "seconds", f"seconds {SORA} (it is '')"),
        ({"prompt": "a", "seconds": []}, "seconds", "seconds must be a number (it is [])"),
        (
            {"prompt": "a", "model": "runway-gen3", "seconds": "0"},
            "seconds",
            "seconds must be a whole number from 1 to 600 (it is '0')",
        ),
        (
            {"prompt": "a", "model": "runway-gen3", "seconds": "9" * 5_000},
            "seconds",
            f"seconds must be a whole number from 1 to 600 (it is '{'9' * 62}…)",
        ),
        (
            {"prompt": "a", "size": "1920x1080"},
            "size",
            f"size must be one of {SIZES} (it is '1920x1080')",
        ),
        (
            {"prompt": "a", "model": "runway-gen3", "size": "large"},
            "size",
            "size must be as in 1280x720 (it is 'large')",
        ),
        ({"prompt": "a", "model": 7}, "model", "model must be a string (it is 7)"),
        (
            {"prompt": "a", "input_reference": "https://pictures.test/a.png"},
            "input_reference",
            "input_reference must be an object (it is 'https://pictures.test/…')",
        ),
        (
            {"prompt": "a", "input_reference": {"file_id": "file_1"}},
            "input_reference.file_id",
            (
                "input_reference.file_id is not supported: send the picture itself, or its "
                "image_url (it is 'file_1')"
            ),
        ),
        (
            {"prompt": "a", "input_reference": {}},
            "input_reference.image_url",
            "input_reference.image_url is required",
        ),
        (
            {"prompt": "a", "input_reference": {"image_url": "ftp://a"}},
            "input_reference",
            (
                "input_reference must be an http(s) URL, a base64 data:image/… URI or "
                "{\"job_id\": …} (it is 'ftp://a')"
            ),
        ),
        ([], None, "the request body must be a JSON object"),
    ],
)
async def test_a_wrong_request_names_its_field(
    api: Api, body: Any, param: str | None, message: str
) -> None:
    fault = _fault(await api.http.post(PATH, json=body), 400)

    assert fault == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": "invalid_value",
    }
    assert (await api.counts())["job"] == 0


async def test_an_unknown_model_is_refused_with_those_that_there_are(api: Api) -> None:
    fault = _fault(await api.http.post(PATH, json={"prompt": "a", "model": "sora-9"}), 400)

    assert fault["param"] == "model"
    assert "sora-2-pro" in fault["message"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b'{"prompt": "\xff"}'),
        ("application/json", b"[" * 100_000),
        ("application/json", b'{"prompt": "a", "prompt": "b"}'),
        ("application/json", b'{"prompt": "a\\u0000"}'),
        ("application/json", b'{"prompt": "' + b"x" * 30_000 + b'"}'),
        ("application/json", b" " * (MAX_BODY + 1)),
        ("text/plain", b"a fox"),
        ("multipart/form-data", b"--X--"),
        ("multipart/form-data; boundary=X", b""),
        ("multipart/form-data; boundary=X", b'{"prompt": "a"}'),
        ("multipart/form-data; boundary=X", b" " * (MAX_BODY + 1)),
        (
            "multipart/form-data; boundary=X",
            b'--X\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\x00\r\n--X--',
        ),
        (
            "multipart/form-data; boundary=X",
            b'--X\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xe4\r\n--X--',
        ),
    ],
    ids=range(16),
)
async def test_a_body_that_is_no_request_is_one_400(api: Api, kind: str, content: bytes) -> None:
    answer = await api.http.post(PATH, content=content, headers={"Content-Type": kind})

    assert _fault(answer, 400)["type"] == "invalid_request_error"
    assert len(answer.text) < 400
    assert (await api.counts())["job"] == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("input_reference", b"GIF89a", "input_reference must be a JPEG, PNG or WebP file"),
        ("input_reference", b"", "input_reference must be a JPEG, PNG or WebP file"),
        ("prompt", PNG, "prompt must not be a file"),
        ("video", PNG, "video must not be a file"),
    ],
)
async def test_a_file_that_is_no_picture_is_refused(
    api: Api, name: str, content: bytes, says: str
) -> None:
    data = {} if name == "prompt" else {"prompt": "a"}
    answer = await api.http.post(PATH, data=data, files={name: ("a", content)})

    assert _fault(answer, 400)["message"] == says


async def test_errors_have_openais_codes_and_say_whether_to_try_again(api: Api) -> None:
    ask, key = {"prompt": "a"}, {"Idempotency-Key": "k"}
    stranger = await api.http.post(PATH, json=ask, headers={"Authorization": "Bearer sk-abc"})
    unavailable = await api.http.post(PATH, json=ask | {"model": "luma-dream-machine"})
    first = await api.http.post(PATH, json=ask, headers=key)
    again = await api.http.post(PATH, json=ask, headers=key)
    other = await api.http.post(PATH, json=ask | {"prompt": "b"}, headers=key)
    await api.front.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    broke = await api.http.post(PATH, json=ask)

    assert first.json() == again.json()
    for answer, status, kind, code, is_final in (
        (stranger, 401, "invalid_request_error", "invalid_api_key", False),
        (unavailable, 503, "server_error", "model_unavailable", True),
        (other, 422, "invalid_request_error", "idempotency_mismatch", False),
        (broke, 429, "insufficient_quota", "insufficient_quota", True),
    ):
        fault = _fault(answer, status)
        assert (fault["type"], fault["code"]) == (kind, code)
        assert answer.headers.get("x-should-retry") == ("false" if is_final else None)


async def test_a_reached_limit_is_429_with_retry_after(api: Api) -> None:
    async def make(connection: Any) -> str:
        id_, plain = await create_key(connection, "acme")
        await set_limits(connection, Holder.KEY, id_, tier="free")
        return plain

    plain = await api.front.engine.database.run(make)
    headers = {"Authorization": f"Bearer {plain}"}
    assert (await api.http.post(PATH, json={"prompt": "a"}, headers=headers)).is_success

    refused = await api.http.post(PATH, json={"prompt": "a"}, headers=headers)

    fault = _fault(refused, 429)
    assert (fault["type"], fault["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert int(refused.headers["Retry-After"]) >= 1


async def test_our_own_faults_are_server_errors(api: Api) -> None:
    front = api.front
    own, keyring = front.engine, front.keyring
    away = Database("postgresql://127.0.0.1:9/none", timeout=0.1)
    front.engine, front.keyring = replace(own, database=away), Keyring(away)
    lost = await api.http.get(f"{PATH}/video_1")
    await away.close()
    nothing: Any = None
    front.engine, front.keyring = replace(own, catalog=nothing), keyring
    broken = await api.http.post(PATH, json={"prompt": "a"})
    front.engine = own

    assert _fault(lost, 503)["type"] == _fault(broken, 500)["type"] == "server_error"


async def test_unknown_foreign_and_malformed_ids_are_one_404(api: Api) -> None:
    foreign = (await _create(api))["id"]
    other = await api.new_key("other")

    for video, key in (
        ("video_123", api.key),
        (foreign, other),
        ("%00", api.key),
        ("edits", api.key),
        ("x" * 3_000, api.key),
    ):
        headers = {"Authorization": f"Bearer {key}"}
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
            answer = await api.http.request(method, f"{PATH}/{video}{path}", headers=headers)
            assert _fault(answer, 404)["message"] == "Video not found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", PATH, 405),
        ("PATCH", f"{PATH}/video_1", 405),
        ("POST", f"{PATH}/video_1/content", 405),
        ("GET", f"{PATH}/video_1/poster", 404),
        ("GET", "/openai/v1/models", 404),
    ],
)
async def test_what_the_api_does_not_have_is_an_error_in_its_shape(
    api: Api, method: str, path: str, status: int
) -> None:
    fault = _fault(await api.http.request(method, path), status)
    assert fault["type"] == "invalid_request_error"


async def test_the_same_is_served_under_a_prefix_of_its_own(api: Api) -> None:
    made = await api.http.post("http://api.test/openai//v1/videos", json={"prompt": "a"})

    assert made.status_code == 200
    read = await api.http.get(f"/openai/v1/videos/{made.json()['id']}")
    assert read.json() == made.json()
