"""Layer's dialect: one call that waits, its document's fields and values, its server's errors."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from psycopg.types.json import Jsonb

from api.body import MAX_BODY
from api.watching import Watcher
from models.budgets import make_prepaid
from storage.base import video_key
from tasks import history
from tasks.ending import end
from tests.integration.api.conftest import Api
from tests.integration.api.stored import whole_scene
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PATH, NATIVE = "/layer/v3/video", "/v1/video/generations"
VIDEO = bytes(range(256)) * 5 + b"end"
PNG = "iVBORw0KGgoAAAANSUhEUg=="
URL = "https://pictures.example.com/a.jpg"
INLINE = "data:image/jpeg;base64,/9j/4AAQSkZJRg=="
DAY = 86_400
#: Fields that a job carries, or that the answer tells as dropped.
OPTIONS = {
    "seed": "seed",
    "negativePrompt": "negative_prompt",
    "personGeneration": "person_generation",
}
NO_PROMPT = "Missing required field: data.prompt (must be a non-empty string)"
STORED = """
UPDATE output SET state = 'stored', key = %s, sha256 = %s, bytes = %s, content_type = 'video/mp4',
       duration_seconds = 5.04
WHERE id = %s RETURNING id
"""
UNFINISHED = "SELECT id FROM job WHERE state NOT IN ('complete', 'failed', 'cancelled')"


async def complete(api: Api, job: str, folder: Path) -> None:
    """End a job as the workers do, with all its videos."""
    outputs = await api.fetch(
        "SELECT output.id, job.created_at FROM output JOIN job ON job.id = job WHERE job = %s", job
    )
    file = folder / "video.mp4"
    file.write_bytes(VIDEO)
    for output in outputs:
        key = video_key(job, output["id"], output["created_at"])
        await api.front.engine.storage.put_file(key, file, content_type="video/mp4")
        await api.fetch(STORED, key, sha256(VIDEO).hexdigest(), len(VIDEO), output["id"])
    await _end(api, job, "complete", cost_micros=600_000)


async def _end(api: Api, job: str, state: str, **columns: Any) -> None:
    more = "".join(f", {name} = %s" for name in columns)
    await api.fetch(
        f"UPDATE job SET state = %s, finished_at = now(){more} WHERE id = %s RETURNING id",  # noqa: S608 - the test's own
        *(state, *columns.values(), job),
    )


@pytest.fixture
async def layer(api: Api) -> Api:
    """The API with a gate, whose waiting requests learn quickly of an end."""
    engine = api.front.engine
    api.front.job_watcher = Watcher(partial(history.look, engine), every=0.01)
    await make_gate(api, "shop", model="runway-gen3")
    return api


async def make_gate(api: Api, name: str, **fields: Any) -> str:
    made = await api.http.post("/v1/gates", json={"name": name, **fields})
    assert made.status_code == 201, made.text
    id_: str = made.json()["id"]
    return id_


@pytest.fixture
async def made(layer: Api, tmp_path: Path) -> AsyncIterator[Api]:
    """The API, and a worker that completes every job at once."""

    async def work() -> None:
        while True:
            for row in await layer.fetch(UNFINISHED):
                await complete(layer, row["id"], tmp_path)
            await asyncio.sleep(0.01)

    works = asyncio.create_task(work())
    yield layer
    await end(works)


def body(gate: str = "shop", /, **data: Any) -> dict[str, Any]:
    return {"gateId": gate, "data": {"prompt": "a serene ocean sunset"} | data}


async def call(api: Api, sent: Any, **options: Any) -> httpx.Response:
    return await api.http.post(PATH, json=sent, **options)


async def _stored_request(api: Api) -> dict[str, Any]:
    (row,) = await api.fetch("SELECT request, scene, plan FROM job ORDER BY id DESC LIMIT 1")
    scene = await whole_scene(api, row["scene"])
    return {**row["request"], "scene": scene, "plan": row["plan"]}


async def test_a_call_answers_with_the_finished_videos(made: Api) -> None:
    answer = await call(made, body(duration=5))
    shown = answer.json()

    assert answer.status_code == 200
    assert shown.keys() == {"id", "model", "videos", "cost", "latency", "latencyMs"}
    assert shown["id"] == answer.headers["X-Job-ID"]
    assert shown["model"] == "gen4.5"
    assert shown["cost"] == 0.6
    assert shown["latency"] == shown["latencyMs"] >= 1
    (video,) = shown["videos"]
    assert video.keys() == {"url", "duration"}
    assert video["duration"] == 5.04
    parts = urlsplit(video["url"])
    lives = int(parse_qs(parts.query)["expires"][0]) - time.time()
    assert 6.9 * DAY < lives < 7.1 * DAY
    content = await made.http.get(f"{parts.path}?{parts.query}", headers={"Authorization": ""})
    assert content.content == VIDEO
    native = await made.http.get(f"{NATIVE}/{shown['id']}")
    assert native.json()["status"] == "complete"


@pytest.mark.parametrize(
    "data",
    [
        {"size": "1280x720"},
        {"size": "720x1280", "duration": 5},
        {"size": "1024x1792"},
        {"size": "1792x1024", "duration": 8, "negativePrompt": "people, buildings"},
        {"duration": 10},
        {"duration": "10"},
        {"duration": "5s"},
        {"duration": 6.5},
        {"image": {"url": URL}},
        {"image": {"base64": INLINE}, "duration": 5},
        {"image": {"base64": PNG}},
        {"image": {"url": URL}, "lastFrame": {"base64": INLINE}},
        {"referenceImages": [{"url": URL, "referenceType": each}]} if (each := "subject") else {},
        {"referenceImages": [{"url": URL, "referenceType": "style"}], "duration": 6},
        {"referenceImages": [{"base64": INLINE, "referenceType": "asset"}, {"url": URL}]},
        {"fps": 30},
        {"fps": 24.0, "seed": 42},
        {"seed": -7},
        {"seed": 4.5},
        {"numberOfVideos": 3},
        {"personGeneration": "ALLOW_ADULT"},
        {"personGeneration": "whoever passes by"},
        {"negativePrompt": "people", "image": None, "size": None, "duration": None, "fps": None},
        {"responseFormat": "url", "colour": "red"},
    ],
)
@pytest.mark.parametrize("model", ["runway-gen3", None])
async def test_every_value_of_the_document_is_taken(
    made: Api, data: dict[str, Any], model: str | None
) -> None:
    answer = await call(made, body(**data) | {"model": model, "metadata": {"userId": "u-1"}})

    assert answer.status_code == 200, answer.text
    assert len(answer.json()["videos"]) == data.get("numberOfVideos", 1)
    request = await _stored_request(made)
    assert request["metadata"] == {"userId": "u-1"}
    assert request["deadline_seconds"] == 900
    if data.get("duration"):
        asked = float(str(data["duration"]).removesuffix("s"))
        assert abs(request["plan"]["duration_seconds"] - asked) <= 0.5
    dropped = answer.headers.get("Longtake-Adapted", "")
    for own, ours in OPTIONS.items():
        assert not data.get(own) or ours in request or ours in dropped, (own, dropped)
    if size := data.get("size"):
        is_tall = size in {"720x1280", "1024x1792"}
        assert request["plan"]["aspect_ratio"] == ("9:16" if is_tall else "16:9")
    if data.get("fps") == 30:
        assert "fps" in dropped


async def test_pictures_reach_the_job_with_their_types(made: Api) -> None:
    made.front.engine.accounts["layer"] = made.front.engine.accounts["runway"].__class__(  # type: ignore[index]
        name="layer", provider="layer", base_url="http://127.0.0.1:9", credentials={}
    )
    pictures = [
        {"url": URL, "referenceType": "subject"},
        {"base64": INLINE, "referenceType": "style"},
        {"url": URL, "referenceType": "asset"},
    ]
    sent = body(image={"base64": PNG}, lastFrame={"url": URL}, referenceImages=pictures)

    answer = await call(made, sent | {"model": "layer/runway-gen3"})

    assert answer.status_code == 200, answer.text
    assert "Longtake-Adapted" not in answer.headers
    scene = (await _stored_request(made))["scene"]
    assert scene["image"] == f"data:image/png;base64,{PNG}"
    assert scene["last_image"] == URL
    assert scene["reference_images"] == [
        {"image": URL, "type": "subject"},
        {"image": INLINE, "type": "style"},
        {"image": URL, "type": "asset"},
    ]


async def test_more_references_than_any_model_takes_are_cut(made: Api) -> None:
    references = [{"url": URL, "referenceType": "style"}] * 17
    answer = await call(made, body(referenceImages=references))

    assert answer.status_code == 200, answer.text
    assert "reference_images" in answer.headers["Longtake-Adapted"]


async def test_a_gate_is_named_by_id_or_name_and_chooses_the_model(made: Api) -> None:
    other = await make_gate(made, "films", model="gen4_turbo", overrides="none")
    picture = {"image": {"url": URL}}

    for gate in (other, "films"):
        answer = await call(made, body(gate, **picture))
        assert answer.json()["model"] == "gen4_turbo"
        assert "Longtake-Adapted" not in answer.headers
    forced = await call(made, body(**picture) | {"model": "gen4_turbo"})
    assert forced.json()["model"] == "gen4_turbo"


async def test_what_a_gate_forbids_and_an_unknown_model_are_left_to_the_gate(made: Api) -> None:
    await make_gate(made, "strict", model="runway-gen3", overrides=["size"])
    sent = body("strict", duration=9, size="720x1280", seed=3) | {"model": "veo-3"}

    answer = await call(made, sent)
    unknown = await call(made, body() | {"model": "no-such-model"})

    assert answer.json()["model"] == unknown.json()["model"] == "gen4.5"
    told = "model=runway-gen3 (asked veo-3), duration_seconds, seed"
    assert answer.headers["Longtake-Adapted"] == told
    assert unknown.headers["Longtake-Adapted"] == "model=runway-gen3 (asked no-such-model)"


async def test_the_videos_themselves_come_as_base64(made: Api) -> None:
    answer = await call(made, body(responseFormat="b64_json", numberOfVideos=2))
    shown = answer.json()

    assert shown.keys() == {"id", "model", "videos", "cost", "latency", "latencyMs"}
    assert len(shown["videos"]) == 2
    for video in shown["videos"]:
        assert video.keys() == {"base64", "duration"}
        assert base64.b64decode(video["base64"], validate=True) == VIDEO


async def test_a_repeat_waits_for_the_first_job(made: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = await asyncio.gather(
        call(made, body(), headers=headers), call(made, body(), headers=headers)
    )
    later = await call(made, body(), headers=headers)
    other = await call(made, body(seed=1), headers=headers)

    assert first.json()["id"] == again.json()["id"] == later.json()["id"]
    assert later.headers["Idempotent-Replayed"] == "true"
    assert (await made.counts())["job"] == 1
    assert other.status_code == 422
    assert other.json()["error"] == "idempotency_mismatch"


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ("failed", {"code": "provider_error", "message": "it broke"}, "it broke"),
        (
            "failed",
            {"code": "content_policy", "message": "no"},
            "Content policy violation: no",
        ),
        ("cancelled", {"code": "cancelled", "message": "the job was cancelled"}, "the job was"),
    ],
)
async def test_a_job_that_fails_in_time_has_its_true_status(
    layer: Api, state: str, error: dict[str, str], message: str
) -> None:
    calling = asyncio.create_task(call(layer, body()))
    await until(lambda: _has_job(layer))
    (row,) = await layer.fetch("SELECT id FROM job")
    await _end(layer, row["id"], state, error=Jsonb({"fault": "unknown", **error}))
    answer = await calling

    assert answer.status_code == 500
    assert answer.json().keys() == {"error", "message"}
    assert answer.json()["error"] == "internal_error"
    assert message in answer.json()["message"]
    assert answer.headers["X-Job-ID"] == row["id"]


async def _has_job(api: Api) -> bool:
    return (await api.counts())["job"] == 1


async def test_a_job_that_is_deleted_meanwhile_is_not_found(layer: Api) -> None:
    calling = asyncio.create_task(call(layer, body()))
    await until(lambda: _has_job(layer))
    (row,) = await layer.fetch("SELECT id FROM job")
    await layer.http.delete(f"{NATIVE}/{row['id']}")

    answer = await calling

    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"


@pytest.mark.parametrize(
    ("sent", "status", "kind", "message"),
    [
        ({"data": {"prompt": "a"}}, 400, "bad_request", "Missing required field: gateId"),
        ({"gateId": "", "data": {}}, 400, "bad_request", "Missing required field: gateId"),
        ({"gateId": 7, "data": {}}, 400, "bad_request", "Missing required field: gateId"),
        (
            {"gateId": "nope", "data": {}},
            *(404, "not_found", 'Gate with ID "nope" not found'),
        ),
        (
            {"gateId": "shop"},
            *(
                400,
                "bad_request",
                "Missing required field: data.prompt (must be a non-empty string)",
            ),
        ),
        (
            {"gateId": "shop", "data": {"prompt": "  "}},
            *(
                400,
                "bad_request",
                "Missing required field: data.prompt (must be a non-empty string)",
            ),
        ),
        (
            {"gateId": "shop", "data": {"prompt": "a", "duration": 15}},
            *(400, "bad_request", "data.duration exceeds maximum of 10 for runway-gen3 model"),
        ),
    ],
)
async def test_the_servers_errors_word_for_word(
    layer: Api, sent: Any, status: int, kind: str, message: str
) -> None:
    answer = await call(layer, sent)

    assert answer.status_code == status
    assert answer.json() == {"error": kind, "message": message}
    assert (await layer.counts())["job"] == 0


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"duration": "soon"}, "data.duration"),
        ({"duration": 0}, "data.duration"),
        ({"duration": "0"}, "data.duration"),
        ({"duration": True}, "data.duration"),
        ({"duration": []}, "data.duration"),
        ({"size": "wide"}, "data.size"),
        ({"size": 7}, "data.size"),
        ({"fps": -1}, "data.fps"),
        ({"seed": "x"}, "data.seed"),
        ({"numberOfVideos": 0}, "data.numberOfVideos"),
        ({"numberOfVideos": 11}, "data.numberOfVideos"),
        ({"numberOfVideos": 1.5}, "data.numberOfVideos"),
        ({"negativePrompt": ["a"]}, "data.negativePrompt"),
        ({"image": URL}, "data.image"),
        ({"image": {}}, "data.image.url"),
        ({"image": {"url": 7}}, "data.image.url"),
        ({"image": {"url": "no link"}}, "data.image"),
        ({"image": {"base64": "§§§"}}, "data.image.base64"),
        ({"lastFrame": []}, "data.lastFrame"),
        ({"referenceImages": {}}, "data.referenceImages"),
        ({"referenceImages": ["x"]}, "data.referenceImages"),
        ({"referenceImages": [{"url": URL, "referenceType": "mood"}]}, "data.referenceImages[0]"),
        ({"referenceImages": [{"referenceType": "style"}]}, "data.referenceImages[0].url"),
        ({"responseFormat": "gif"}, "data.responseFormat"),
        ({"personGeneration": 7}, "data.personGeneration"),
    ],
)
async def test_a_wrong_value_is_named(layer: Api, data: dict[str, Any], field: str) -> None:
    answer = await call(layer, body(**data))

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "bad_request"
    assert answer.json()["message"].startswith(field), answer.json()
    assert (await layer.counts())["job"] == 0


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"gateId": "shop", "gateId": "b"}'),
        *(b"[" * 100_000, b'{"data": ' * 100 + b"1" + b"}" * 100),
        b'{"gateId": "shop", "data": {"prompt": "a\\u0000"}}',
        b'{"gateId": "shop", "data": {"prompt": "a", "seed": 1e999}}',
        b'{"gateId": "shop", "data": {"prompt": "' + b"x" * 30_000 + b'"}}',
        b'{"gateId": "shop", "metadata": [], "data": {"prompt": "a"}}',
        b" " * (MAX_BODY + 1),
    ],
    ids=range(14),
)
async def test_a_body_that_is_no_request_is_a_400(layer: Api, content: bytes) -> None:
    answer = await layer.http.post(PATH, content=content)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error", "message"}
    assert answer.json()["error"] == "bad_request"


@pytest.mark.parametrize(
    ("route", "headers", "status", "kind"),
    [
        (f"POST {PATH}", {"Authorization": ""}, 401, "unauthorized"),
        (f"POST {PATH}", {"Authorization": "Bearer sk-layer-abc"}, 401, "unauthorized"),
        (f"GET {PATH}", {}, 405, "method_not_allowed"),
        ("POST /layer/v3/image", {}, 404, "not_found"),
        ("GET /layer", {}, 404, "not_found"),
    ],
)
async def test_the_frameworks_errors_have_layers_shape(
    layer: Api, route: str, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = await layer.http.request(*route.split(), headers=headers)

    assert answer.status_code == status
    assert answer.json().keys() == {"error", "message"}
    assert answer.json()["error"] == kind


async def test_money_and_missing_credentials_have_their_own_status(layer: Api) -> None:
    unavailable = await call(layer, body() | {"model": "luma-dream-machine"})
    await layer.front.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    poor = await call(layer, body())

    assert (unavailable.status_code, unavailable.json()["error"]) == (503, "model_unavailable")
    assert (poor.status_code, poor.json()["error"]) == (402, "insufficient_balance")


async def test_a_base_address_may_end_with_a_slash(made: Api) -> None:
    answer = await made.http.post("http://api.test/layer//v3/video", json=body())
    assert answer.status_code == 200


async def test_another_tenants_gate_is_not_found(layer: Api) -> None:
    key = await layer.new_key("other")
    answer = await call(layer, body(), headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 404
    assert answer.json()["message"] == 'Gate with ID "shop" not found'
