"""AI/ML API's dialect: its fields, statuses, shapes and links, on both paths and both prefixes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from api.dialects import inline
from api.dialects.aimlapi_models import LEGACY, UNIVERSAL
from models.state import JobState
from settings import load
from tests.integration.api.conftest import ENVIRONMENT, Api, Hints
from tests.integration.api.stored import whole_scene

pytestmark = pytest.mark.anyio
LEGACY_PATH = "/v2/generate/video/runway/generation"
PATH = "/v2/video/generations"
NATIVE = "/v1/video/generations"
IMAGE, LAST = "https://pictures.example/first.jpg", "https://pictures.example/last.jpg"
DATA = "data:image/png;base64,iVBORw0KGgo="
#: Credentials of each vendor whose models AI/ML API sells.
EVERYONE = {
    "LUMAAI_API_KEY": "l",
    "LUMA_AGENTS_API_KEY": "a",
    "KLING_API_KEY": "k",
    "KLING_ACCESS_KEY": "k",
    "KLING_SECRET_KEY": "s" * 32,
    "MINIMAX_API_KEY": "m",
    "GEMINI_API_KEY": "g",
    "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9",
    "OPENAI_API_KEY": "o",
    "OPENAI_BASE_URL": "http://127.0.0.1:9",
    "REPLICATE_API_TOKEN": "r",
}


async def _create(api: Api, path: str = LEGACY_PATH, **fields: Any) -> httpx.Response:
    answer = await api.http.post(path, json={"prompt": "a jellyfish"} | fields)
    assert answer.is_success, answer.text
    return answer


async def _read(api: Api, generation: str, path: str = LEGACY_PATH) -> dict[str, Any]:
    answer = await api.http.get(path, params={"generation_id": generation})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def _made(api: Api) -> dict[str, Any]:
    """The newest job's plan, its scene, and over both the native request."""
    (row,) = await api.fetch("SELECT request, plan, scene FROM job ORDER BY id DESC LIMIT 1")
    scene = await whole_scene(api, row["scene"])
    return {**row["plan"], **scene, **row["request"]}


async def _complete(api: Api, *, size: int = 3) -> None:
    """Every job as a worker would leave it; the objects hold `size` bytes."""
    for output in await api.fetch("SELECT id, position FROM output"):
        key = f"o/{output['id']}"
        path = Path(api.front.engine.settings.data_dir) / "content"
        path.write_bytes(bytes([output["position"]]) * size)
        await api.front.engine.storage.put_file(key, path, content_type="video/mp4")
        await api.fetch(
            "UPDATE output SET state = 'stored', key = %s, sha256 = repeat('0', 64), bytes = %s, "
            "content_type = 'video/mp4', duration_seconds = 10 WHERE id = %s RETURNING id",
            *(key, size, output["id"]),
        )
    await api.fetch(
        "UPDATE job SET state = 'complete', cost_micros = 1200000, accepted_at = now(), "
        "finished_at = now() RETURNING id"
    )


@pytest.mark.parametrize("prefix", ["", "/aimlapi"])
@pytest.mark.parametrize(
    ("path", "status", "model"),
    [(LEGACY_PATH, 201, "gen3a_turbo"), (PATH, 200, "runway/gen4_turbo")],
)
async def test_a_generation_is_made_and_read_at_the_prefix_and_at_the_root(
    api: Api, prefix: str, path: str, status: int, model: str
) -> None:
    created = await _create(api, prefix + path, model=model, image_url=IMAGE)
    generation = created.json()

    assert created.status_code == status
    assert generation.keys() == {"id", "status"}
    assert generation["status"] == "queued"
    assert str(UUID(generation["id"])) == generation["id"]
    for other in (LEGACY_PATH, PATH, f"/aimlapi{PATH}"):
        assert await _read(api, generation["id"], other) == generation
    doubled = await _create(api, f"http://api.test{prefix}/{path}", model=model)
    assert doubled.json()["status"] == "queued"
    assert api.hints.sent


@pytest.mark.parametrize(
    ("asked", "made", "told"),
    [
        # the two programs of the page, and its shortest request
        (
            {"model": "gen3a_turbo", "ratio": "16:9", "image_url": IMAGE},
            {"image": IMAGE, "model": "gen3a_turbo"},
            None,
        ),
        ({"ratio": "16:9"}, {"model": "gen4.5"}, "model=gen4.5 (asked gen3a_turbo)"),
        # every other field and value of the page
        ({"ratio": "9:16", "image_url": DATA}, {"aspect_ratio": "9:16", "image": DATA}, None),
        ({"image_url": IMAGE, "duration": 5}, {"duration_seconds": 5}, None),
        ({"image_url": IMAGE, "duration": 10}, {"duration_seconds": 10}, None),
        ({"image_url": IMAGE, "duration": "5"}, {"duration_seconds": 5}, None),
        ({"image_url": IMAGE}, {"duration_seconds": 10}, None),
        ({"image_url": IMAGE, "seed": 0}, {"seed": 0}, None),
        ({"image_url": IMAGE, "seed": 2**32 - 1}, {"seed": 2**32 - 1}, None),
        ({"image_url": IMAGE, "last_image_url": LAST}, {"image": IMAGE}, "last_image"),
        ({"image_url": IMAGE, "last_image_url": DATA}, {"image": IMAGE}, "last_image"),
        ({"image_url": IMAGE, "watermark": True}, {}, "watermark"),
        ({"image_url": IMAGE, "watermark": False}, {}, "watermark"),
        # what only clients send, and what nobody knows
        ({"image_url": IMAGE, "n": 2, "response_format": "url"}, {"count": 2}, None),
        ({"image_url": IMAGE, "colour": "red", "webhook_url": 7, "run_at": 1}, {}, None),
    ],
)
async def test_what_stands_in_the_page_of_2025_is_made(
    api: Api, asked: dict[str, Any], made: dict[str, Any], told: str | None
) -> None:
    answer = await _create(api, **asked)

    assert answer.headers.get("Longtake-Adapted") == told
    request = await _made(api)
    assert {name: request[name] for name in made} == made
    assert not request.keys() & {"colour", "webhook_url", "run_at"}


async def test_runways_prompt_is_counted_in_utf16_on_both_paths(
    api: Api,
) -> None:
    await _create(api, prompt="🦊" * 256)
    await _create(api, PATH, model="gen3a_turbo", prompt="é" * 1000)
    await _create(api, PATH, model="gen3a_turbo", prompt="🦊" * 500)
    for path, prompt, words in (
        (LEGACY_PATH, "🦊" * 257, "at most 512 UTF-16 code units (it has 514)"),
        (PATH, "é" * 1001, "at most 1000 UTF-16 code units (it has 1001)"),
        (PATH, "🦊" * 501, "at most 1000 UTF-16 code units (it has 1002)"),
    ):
        body = {"model": "gen3a_turbo", "prompt": prompt}
        refused = await api.http.post(path, json=body)
        assert refused.status_code == 400
        assert words in refused.json()["message"]


@asynccontextmanager
async def _serving(database_url: str, folder: Path) -> AsyncIterator[Api]:
    """The API with credentials of everyone."""
    own = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(folder)}
    hints = Hints()
    app = create_app(load({**ENVIRONMENT, **own, **EVERYONE}), hinter=lambda: hints)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as http,
    ):
        made = Api(app=app, http=http, hints=hints, key="")
        http.headers["Authorization"] = f"Bearer {await made.new_key('acme')}"
        yield made


async def test_every_value_of_every_models_schema_is_accepted_and_every_change_is_told(
    database_url: str, tmp_path: Path, anyio_backend: str
) -> None:
    async with _serving(database_url, tmp_path) as api:
        for name, schema in UNIVERSAL.items():
            asks: list[dict[str, Any]] = [
                {},
                *({"duration": seconds} for seconds in schema.seconds),
                *({"aspect_ratio": ratio} for ratio in schema.ratios),
                *({"resolution": resolution.upper()} for resolution in schema.resolutions),
            ]
            for asked in asks:
                answer = await _create(api, PATH, model=name, image_url=IMAGE, **asked)
                told = answer.headers.get("Longtake-Adapted", "")
                plan = await _made(api)
                assert (f"(asked {name})" in told) == schema.is_successor, (name, told)
                if (seconds := asked.get("duration", schema.seconds[0])) is not None:
                    is_told = f"(asked {seconds})" in told
                    assert is_told == (plan["duration_seconds"] != seconds), (name, told)
                if ratio := asked.get("aspect_ratio"):
                    is_made = plan["aspect_ratio"] == ratio or ratio == "adaptive"
                    assert is_made != (f"(asked {ratio})" in told), (name, told)


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (
            {
                "model": "google/veo-3.1-t2v",
                "negative_prompt": "rain",
                "seed": 7,
                "generate_audio": False,
                "enhance_prompt": True,
            },
            {"negative_prompt": "rain", "seed": 7, "audio": False, "resolution": "1080p"},
        ),
        (
            {"model": "runway/gen4_turbo", "image_url": IMAGE, "aspect_ratio": "21:9"},
            {"image": IMAGE, "aspect_ratio": "21:9", "duration_seconds": 5},
        ),
        (
            {"model": "google/veo-3.1-i2v", "image_url": IMAGE, "tail_image_url": LAST},
            {"image": IMAGE, "last_image": LAST},
        ),
        (
            {"model": "luma/ray-2", "keyframes": {"frame0": {"type": "image", "url": IMAGE}}},
            {"image": IMAGE, "model": "ray-2"},
        ),
        ({"model": "video-01", "first_frame_image": IMAGE}, {"image": IMAGE}),
        (
            {"model": "klingai/video-v3-pro-text-to-video", "aspect_ratio": "1:1"},
            {"resolution": "1080p", "aspect_ratio": "1:1", "model": "kling-3.0"},
        ),
    ],
)
async def test_the_fields_of_the_other_schemas_are_the_native_ones(
    database_url: str,
    tmp_path: Path,
    anyio_backend: str,
    asked: dict[str, Any],
    made: dict[str, Any],
) -> None:
    async with _serving(database_url, tmp_path) as api:
        await _create(api, PATH, **asked)
        request = await _made(api)
        assert {name: request.get(name) for name in made} == made


async def test_what_no_model_of_ours_takes_is_told_as_dropped(api: Api) -> None:
    answer = await _create(
        api,
        PATH,
        model="google/veo3",
        duration=8,
        loop=True,
        hdr=False,
        camera_control={"type": "simple"},
    )
    assert answer.headers["Longtake-Adapted"] == "loop, camera_control"


async def test_every_vendor_has_an_older_path_with_its_own_models(
    database_url: str, tmp_path: Path, anyio_backend: str
) -> None:
    async with _serving(database_url, tmp_path) as api:
        for vendor, models in LEGACY.items():
            path = f"/v2/generate/video/{vendor}/generation"
            unnamed = await _create(api, path, image_url=IMAGE)
            named = await _create(api, path, image_url=IMAGE, model=next(iter(models)))
            assert (unnamed.status_code, named.status_code) == (201, 201)
            await _read(api, named.json()["id"], path)
            foreign = "veo2" if vendor != "google" else "video-01"
            refused = await api.http.post(path, json={"model": foreign, "prompt": "a"})
            assert refused.status_code == 400
            assert f"received '{foreign}'" in refused.json()["message"]


async def test_a_completed_generation_has_the_shape_of_its_path(api: Api) -> None:
    one = (await _create(api, image_url=IMAGE)).json()["id"]
    two = (await _create(api, image_url=IMAGE, n=2)).json()["id"]
    await _complete(api)

    meta = {"usage": {"credits_used": 2_400_000, "usd_spent": 1.2}}
    for path in (PATH, "/v2/generate/video/google/generation"):
        shown = await _read(api, one, path)
        assert shown.keys() == {"id", "status", "video", "error", "meta"}
        assert (shown["id"], shown["status"], shown["error"]) == (one, "completed", None)
        assert shown["meta"] == meta
        assert shown["video"].keys() == {"url", "duration"}
        assert shown["video"]["url"].startswith(f"https://videos.test{NATIVE}/job_vid_")
        several = await _read(api, two, path)
        assert [video["url"].split("?")[0][-1] for video in several["video"]] == ["0", "1"]
    # Runway's page of 2025 has links alone
    for generation, count in ((one, 1), (two, 2)):
        links = (await _read(api, generation))["video"]
        assert [link.startswith("https://videos.test/") for link in links] == [True] * count


async def test_a_link_lives_for_48_hours_and_needs_no_key(api: Api) -> None:
    generation = (await _create(api, image_url=IMAGE)).json()["id"]
    await _complete(api)
    (clock,) = await api.fetch("SELECT extract(epoch FROM now())::float AS now")

    link = httpx.URL((await _read(api, generation))["video"][0])
    served = await api.http.get(link.raw_path.decode(), headers={"Authorization": ""})

    assert abs(int(link.params["expires"]) - clock["now"] - 48 * 3600) < 60
    assert (served.status_code, served.content) == (200, b"\0\0\0")


async def test_base64_is_the_video_itself_for_one_and_for_several(api: Api) -> None:
    one = (await _create(api, image_url=IMAGE, response_format="b64_json")).json()["id"]
    path = "/v2/generate/video/google/generation"
    body = {"model": "google/veo3", "n": 2, "response_format": "b64_json"}
    two = (await _create(api, path, **body)).json()["id"]
    await _complete(api)

    assert (await _read(api, one))["video"] == ["AAAA"]
    assert (await _read(api, one, PATH))["video"] == {"b64_json": "AAAA", "duration": 10}
    shown = await _read(api, two, path)
    assert [video["b64_json"] for video in shown["video"]] == ["AAAA", "AQEB"]


async def test_videos_that_are_too_large_for_an_answer_are_linked(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = (await _create(api, image_url=IMAGE, response_format="b64_json")).json()["id"]
    await _complete(api, size=4)
    assert (await _read(api, generation, PATH))["video"]["b64_json"] == "AAAAAA=="
    monkeypatch.setattr("api.dialects.aimlapi.MOST_INLINE", 3)
    assert inline.MOST_INLINE >= 2**20
    assert (await _read(api, generation, PATH))["video"].keys() == {"url", "duration"}


async def test_a_video_that_was_deleted_is_null(api: Api) -> None:
    generation = (await _create(api, image_url=IMAGE)).json()["id"]
    await _complete(api)
    await api.fetch("UPDATE output SET deleted_at = now() RETURNING id")

    for path in (PATH, LEGACY_PATH):
        shown = await _read(api, generation, path)
        assert (shown["status"], shown["video"]) == ("completed", None)


@pytest.mark.parametrize(
    ("state", "error", "shown"),
    [
        (
            "failed",
            {"fault": "moderated", "code": "content_policy", "message": "Runway: SAFETY.INPUT"},
            {
                "name": "content_policy",
                "message": "The prompt was rejected by content moderation: Runway: SAFETY.INPUT",
            },
        ),
        (
            "failed",
            {"fault": "unknown", "code": "provider_unknown", "message": "Runway broke"},
            {"name": "provider_unknown", "message": "Runway broke"},
        ),
        ("failed", None, {"name": "failed", "message": "The generation failed"}),
        (
            "cancelled",
            {"fault": "gone", "code": "cancelled", "message": "the job was cancelled"},
            {"name": "cancelled", "message": "the job was cancelled"},
        ),
    ],
)
async def test_a_job_without_a_video_is_an_error_with_a_name(
    api: Api, state: str, error: dict[str, str] | None, shown: dict[str, str]
) -> None:
    generation = (await _create(api)).json()["id"]
    await api.fetch(
        "UPDATE job SET state = %s, error = %s RETURNING id",
        *(state, json.dumps(error) if error else None),
    )

    for path in (PATH, LEGACY_PATH):
        assert await _read(api, generation, path) == {
            "id": generation,
            "status": "error",
            "video": None,
            "error": shown,
            "meta": {"usage": {"credits_used": 0, "usd_spent": 0.0}},
        }


async def test_a_poll_never_gets_a_word_that_ends_the_wait_too_early_or_never(api: Api) -> None:
    generation = (await _create(api)).json()["id"]
    for state in JobState:
        await api.fetch("UPDATE job SET state = %s RETURNING id", state)
        status = (await _read(api, generation))["status"]
        assert (status in {"completed", "error"}) == state.is_final
        assert (status in {"queued", "generating"}) != state.is_final


async def test_the_answers_are_as_openapi_documents_them(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    paths = {
        path: operations
        for path, operations in document["paths"].items()
        if path.startswith(("/aimlapi/", "/v2/"))
    }
    legacy = "/v2/generate/video/{vendor}/generation"
    assert set(paths) == {PATH, legacy, f"/aimlapi{PATH}", f"/aimlapi{legacy}"}
    each = [operation for path in paths.values() for operation in path.values()]
    assert {tuple(operation["tags"]) for operation in each} == {("AI/ML API",)}
    assert len({operation["operationId"] for operation in each}) == 8

    created = (await _create(api, image_url=IMAGE)).json()
    queued = await _read(api, created["id"])
    lost = (await api.http.get(PATH, params={"generation_id": "lost"})).json()
    await _complete(api)
    for operation, status, value in (
        (paths[legacy]["post"], "201", created),
        (paths[PATH]["post"], "200", created),
        (paths[legacy]["get"], "200", queued),
        (paths[legacy]["get"], "200", await _read(api, created["id"])),
        (paths[PATH]["get"], "200", await _read(api, created["id"], PATH)),
        (paths[PATH]["get"], "404", lost),
    ):
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        Draft202012Validator(schema | {"components": document["components"]}).validate(value)
