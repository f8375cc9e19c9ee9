"""The simulated gateways: their words, their refusals, and Layer's one long answer."""

import asyncio
from typing import Any, Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

LONG_ENOUGH = 100.0
PERF = "/perf/v1/video/generations"
LUNOS = "/lunos/v1/video/generations"
AIMLAPI = "/aimlapi/v2/video/generations"
LEGACY = "/aimlapi/v2/generate/video/runway/generation"
LAYER = "/layer/v3/video"
GATE = "00000000-0000-4000-8000-000000000001"
HEADERS = {"Authorization": "Bearer pk_test_key_0123456789"}
VEO = {"model": "google/veo-3.0-generate-preview", "prompt": "a cat"}
KLING = {"model": "klingai/v2.5-turbo/pro/text-to-video", "prompt": "a cat"}
GEN3 = {"model": "gen3a_turbo", "prompt": "a cat", "ratio": "16:9"}


def referring(kind: str, *, model: str = "runway-gen3", **data: object) -> dict[str, object]:
    """A request to Layer with one reference image."""
    references = [{"url": "https://pictures.example/a.png", "referenceType": kind}]
    told = {"prompt": "x", "referenceImages": references, **data}
    return {"gateId": GATE, "model": model, "data": told}


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def post(client: httpx.AsyncClient, url: str, body: object) -> httpx.Response:
    return await client.post(url, json=body, headers=HEADERS)


async def get(client: httpx.AsyncClient, url: str) -> Any:
    return (await client.get(url, headers=HEADERS)).json()


async def test_a_job_of_perfs_is_pending_then_processing_then_complete(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    answer = await post(client, PERF, {"prompt": "a cat"})
    job = answer.json()
    assert (answer.status_code, job["status"], job["estimated_cost_usd"]) == (202, "pending", 0.4)
    assert (job["model"], job["duration_seconds"], job["resolution"]) == ("runway-gen3", 4, "1080p")

    clock.advance(21)
    running = await get(client, f"{PERF}/{job['id']}")
    assert running["status"] == "processing"
    assert 0 <= running["progress_percent"] <= 100

    clock.advance(LONG_ENOUGH)
    done = await get(client, f"{PERF}/{job['id']}")
    assert (done["status"], done["perf"]["cost_usd"]) == ("complete", 0.4)
    assert done["perf"]["request_id"] == job["perf"]["request_id"]
    assert (await client.get(done["video_url"])).status_code == 200


async def test_an_operation_of_lunos_is_pending_until_it_is_completed(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    operation = (await post(client, LUNOS, VEO)).json()
    assert operation["status"] == "pending"
    clock.advance(21)
    assert (await get(client, f"{LUNOS}/{operation['id']}"))["status"] == "pending"
    clock.advance(LONG_ENOUGH)
    assert (await get(client, f"{LUNOS}/{operation['id']}"))["status"] == "completed"


@pytest.mark.parametrize(("url", "body"), [(AIMLAPI, KLING), (LEGACY, GEN3)])
async def test_a_generation_of_aimlapis_is_queued_then_generating_then_completed(
    client: httpx.AsyncClient, clock: Clock, url: str, body: dict[str, object]
) -> None:
    generation = (await post(client, url, body)).json()
    assert generation["status"] == "queued"
    there = f"{url}?generation_id={generation['id']}"
    clock.advance(21)
    assert (await get(client, there))["status"] == "generating"
    clock.advance(LONG_ENOUGH)
    assert (await client.get((await get(client, there))["video"]["url"])).status_code == 200


async def test_layer_answers_when_the_video_is_made(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    answer = asyncio.create_task(post(client, LAYER, {"gateId": GATE, "data": {"prompt": "a cat"}}))
    while not (await get(client, "/_sim/bill"))["data"]:
        assert not answer.done()
    clock.advance(LONG_ENOUGH)
    made = (await answer).json()
    assert (await client.get(made["videos"][0]["url"])).status_code == 200


async def test_layer_gives_up_after_ten_minutes(client: httpx.AsyncClient, clock: Clock) -> None:
    body = {"gateId": GATE, "data": {"prompt": "[sim:never] a cat"}}
    answer = asyncio.create_task(post(client, LAYER, body))
    while not (await get(client, "/_sim/bill"))["data"]:
        assert not answer.done()
    clock.advance(600)
    assert (await answer).json() == {
        "error": "internal_error",
        "message": "Video generation timed out after 10 minutes",
    }


@pytest.mark.parametrize(
    ("url", "body", "status", "word"),
    [
        (PERF, {}, 400, "prompt is required"),
        (PERF, {"prompt": "x", "model": "sora"}, 400, "model"),
        (PERF, {"prompt": "x", "duration_seconds": 17}, 400, "maximum of 16 for runway-gen3 model"),
        (PERF, {"prompt": "x", "aspect_ratio": "21:9"}, 400, "aspect_ratio"),
        (LUNOS, {"prompt": "x"}, 400, "Missing required fields"),
        (LUNOS, VEO | {"model": "google/veo-4"}, 404, "Model not found"),
        (LUNOS, VEO | {"parameters": {"aspectRatio": "9:16"}}, 400, "aspect ratio"),
        (LUNOS, VEO | {"response_format": "gif"}, 400, "format"),
        (AIMLAPI, KLING | {"model": "nobody/nothing"}, 400, "model"),
        (AIMLAPI, KLING | {"prompt": ""}, 400, "prompt"),
        (AIMLAPI, KLING | {"duration": "5"}, 400, "duration"),
        (AIMLAPI, KLING | {"resolution": "720p"}, 400, "resolution: Unrecognized"),
        (AIMLAPI, {"model": "runway/gen4_turbo"}, 400, "image_url: Required"),
        (LEGACY, GEN3 | {"ratio": "1:1"}, 400, "ratio"),
        (LEGACY, GEN3 | {"prompt": "x" * 513}, 400, "512"),
        (LEGACY, GEN3 | {"aspect": "16:9"}, 400, "aspect: Unrecognized"),
        (LEGACY, GEN3 | {"model": "gen4_turbo"}, 404, "Model"),
        (LAYER, {"data": {"prompt": "x"}}, 400, "gateId"),
        (LAYER, {"gateId": "mine", "data": {"prompt": "x"}}, 400, "UUID"),
        (LAYER, {"gateId": GATE.replace("1", "9"), "data": {"prompt": "x"}}, 404, "not found"),
        (LAYER, {"gateId": GATE, "data": {}}, 400, "data.prompt"),
        (LAYER, {"gateId": GATE, "data": {"prompt": "x", "size": "1x1"}}, 500, "size"),
        (LAYER, {"gateId": GATE, "data": {"prompt": "x", "image": {}}}, 500, "image"),
        (LAYER, referring("mood"), 500, "referenceType: must be one of"),
        (LAYER, referring("style", model="veo-3.1-generate-preview"), 500, "STYLE"),
        (LAYER, referring("asset", model="veo-3.1-generate-preview", duration=6), 500, "duration"),
    ],
)
async def test_a_body_that_the_vendor_would_refuse_is_refused_and_not_billed(
    client: httpx.AsyncClient, url: str, body: dict[str, object], status: int, word: str
) -> None:
    answer = await post(client, url, body)
    assert answer.status_code == status
    assert word in answer.text
    assert (await get(client, "/_sim/bill"))["data"] == []


@pytest.mark.parametrize(
    ("url", "body"), [(PERF, {"prompt": "x"}), (LUNOS, VEO), (AIMLAPI, KLING), (LEGACY, GEN3)]
)
async def test_beyond_the_cap_there_is_429(
    client: httpx.AsyncClient, url: str, body: dict[str, object]
) -> None:
    statuses = [(await post(client, url, body)).status_code for _ in range(3)]
    assert statuses[0] < 300
    assert statuses == [statuses[0], statuses[0], 429]


@pytest.mark.parametrize("url", [PERF, LUNOS, AIMLAPI, LEGACY, LAYER])
async def test_without_a_key_there_is_401(client: httpx.AsyncClient, url: str) -> None:
    assert (await client.post(url, json={"prompt": "x"})).status_code == 401


@pytest.mark.parametrize("url", [f"{PERF}/x", f"{LUNOS}/x", f"{AIMLAPI}?generation_id=x"])
async def test_an_unknown_job_is_404(client: httpx.AsyncClient, url: str) -> None:
    assert (await client.get(url, headers=HEADERS)).status_code == 404
