from collections.abc import Mapping
from typing import Any, Protocol

import httpx
import pytest

from simulator.world import World

pytestmark = pytest.mark.anyio

TOKEN = {"Authorization": "Bearer ya29.test"}
KEY = {"x-goog-api-key": "AIza-test"}
MODEL = "/vertex/v1beta1/projects/p/locations/l/publishers/google/models/veo-3.1-generate-001"
VEO = "/gemini/v1beta/models/veo-3.1-generate-preview"
OMNI = "/gemini/v1/interactions"
PICTURE = {"bytesBase64Encoded": "aGVsbG8=", "mimeType": "image/png"}
REFERENCE = {"image": PICTURE, "referenceType": "ASSET"}
INTERACTION = {
    "model": "gemini-omni-1.1-flash",
    "background": True,
    "input": "a cat",
    "response_format": {"type": "video", "delivery": "uri"},
}
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def predict(
    client: httpx.AsyncClient,
    prompt: str = "a cat",
    *,
    instance: Mapping[str, Any] | None = None,
    **parameters: object,
) -> httpx.Response:
    body = {"instances": [{"prompt": prompt, **(instance or {})}], "parameters": parameters}
    return await client.post(f"{MODEL}:predictLongRunning", json=body, headers=TOKEN)


async def fetched(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    answer = await client.post(
        f"{MODEL}:fetchPredictOperation", json={"operationName": name}, headers=TOKEN
    )
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


async def predict_old(client: httpx.AsyncClient, **parameters: object) -> httpx.Response:
    body = {"instances": [{"prompt": "a cat"}], "parameters": parameters}
    return await client.post(f"{VEO}:predictLongRunning", json=body, headers=KEY)


async def interact(client: httpx.AsyncClient, **changes: object) -> httpx.Response:
    return await client.post(OMNI, json=INTERACTION | changes, headers=KEY)


async def test_an_operation_says_nothing_but_its_name_until_it_is_done(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    name = (await predict(client, durationSeconds=4)).json()["name"]
    for _ in range(3):
        assert await fetched(client, name) == {"name": name}
        clock.advance(12)

    clock.advance(LONG_ENOUGH)
    done = await fetched(client, name)

    assert done["done"] is True
    assert [sorted(video) for video in done["response"]["videos"]] == [
        ["bytesBase64Encoded", "mimeType"]
    ]


async def test_an_operation_is_not_found_under_another_model_or_name(
    client: httpx.AsyncClient,
) -> None:
    name = (await predict(client)).json()["name"]
    other = MODEL.replace("3.1-", "3.1-fast-")

    for path, operation, status in ((MODEL, f"{name}0", 404), (other, name, 400)):
        body = {"operationName": operation}
        answer = await client.post(f"{path}:fetchPredictOperation", json=body, headers=TOKEN)
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("instance", "parameters", "word"),
    [
        ({"prompt": None}, {}, "prompt"),
        ({"image": {"uri": "https://pictures.example/a.png"}}, {}, "image"),
        ({"image": {"bytesBase64Encoded": "aGVsbG8="}}, {}, "image.mimeType"),
        ({"lastFrame": PICTURE}, {}, "lastFrame"),
        ({"referenceImages": [REFERENCE] * 4}, {}, "referenceImages"),
        ({"referenceImages": [REFERENCE], "image": PICTURE}, {}, "referenceImages"),
        ({"referenceImages": [REFERENCE]}, {"durationSeconds": 4}, "durationSeconds"),
        ({"referenceImages": [{"image": PICTURE}]}, {}, "referenceImages[0].referenceType"),
        (
            {"referenceImages": [REFERENCE | {"referenceType": "STYLE"}]},
            {},
            "referenceImages[0].referenceType",
        ),
        ({"negativePrompt": "blur"}, {}, "Unknown name negativePrompt in instances[0]"),
        ({}, {"durationSeconds": 5}, "durationSeconds"),
        ({}, {"sampleCount": 5}, "sampleCount"),
        ({}, {"aspectRatio": "1:1"}, "aspectRatio"),
        ({}, {"resolution": "480p"}, "resolution"),
        ({}, {"personGeneration": "all"}, "personGeneration"),
        ({}, {"seed": 2**32}, "seed"),
        ({}, {"motion": 3}, "motion"),
    ],
)
async def test_a_request_that_veo_would_refuse_is_400_with_the_field_named(
    client: httpx.AsyncClient,
    world: World,
    instance: dict[str, Any],
    parameters: dict[str, Any],
    word: str,
) -> None:
    answer = await predict(client, instance=instance, **parameters)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["message"].partition(": ")[0] == word
    assert world.bill.rows() == []


@pytest.mark.parametrize(
    ("instance", "parameters", "word"),
    [
        ({"referenceImages": [REFERENCE]}, {}, "referenceImages"),
        ({}, {"resolution": "4k"}, "resolution"),
    ],
)
async def test_the_lite_model_takes_no_references_and_makes_no_4k(
    client: httpx.AsyncClient, instance: dict[str, Any], parameters: dict[str, Any], word: str
) -> None:
    body = {"instances": [{"prompt": "a cat", **instance}], "parameters": parameters}
    lite = MODEL.replace("3.1-", "3.1-lite-")

    answer = await client.post(f"{lite}:predictLongRunning", json=body, headers=TOKEN)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{word}: ")


async def test_operations_beyond_the_cap_are_refused_with_a_wait_in_the_body(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    answers = [await predict(client) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    error = answers[2].json()["error"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert [detail["retryDelay"] for detail in error["details"]] == ["2s"]

    clock.advance(LONG_ENOUGH)
    assert (await predict(client)).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "status", "word"),
    [
        (f"{MODEL}:predictLongRunning", {}, 401, "UNAUTHENTICATED"),
        (f"{MODEL.replace('3.1', '9')}:predictLongRunning", TOKEN, 404, "NOT_FOUND"),
        (f"{VEO}:predictLongRunning", {}, 403, "PERMISSION_DENIED"),
        (f"{VEO}:predictLongRunning", {"x-goog-api-key": "no"}, 400, "INVALID_ARGUMENT"),
        (f"{VEO.replace('3.1', '3.0')}:predictLongRunning", KEY, 404, "NOT_FOUND"),
        (OMNI, {}, 403, "PERMISSION_DENIED"),
        ("/gemini/v1beta/nothing", KEY, 404, "NOT_FOUND"),
        ("/gemini/v1/nothing", KEY, 404, "NOT_FOUND"),
    ],
)
async def test_a_stranger_and_a_wrong_address_are_refused_in_googles_shape(
    client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int, word: str
) -> None:
    answer = await client.post(path, json=INTERACTION, headers=headers)

    assert answer.status_code == status
    assert answer.json()["error"]["status"] == word


@pytest.mark.parametrize(
    "parameters",
    [
        {"seed": 7},
        {"generateAudio": True},
        {"sampleCount": 2},
        {"resolution": "1080p", "durationSeconds": 4},
    ],
)
async def test_the_gemini_api_takes_less_than_vertex(
    client: httpx.AsyncClient, parameters: dict[str, Any]
) -> None:
    assert (await predict_old(client, **parameters)).status_code == 400
    assert (await predict_old(client, resolution="1080p")).status_code == 200


async def test_a_file_wants_the_key_and_points_on_to_a_link_that_does_not(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    name = (await predict_old(client, durationSeconds=4)).json()["name"]
    clock.advance(LONG_ENOUGH)
    done = (await client.get(f"/gemini/v1beta/{name}", headers=KEY)).json()
    (sample,) = done["response"]["generateVideoResponse"]["generatedSamples"]
    uri = sample["video"]["uri"]
    assert uri.endswith(f"/files/{name.rpartition('/')[2]}:download?alt=media")

    assert (await client.get(uri)).status_code == 403
    pointed = await client.get(uri, headers=KEY)
    assert pointed.status_code == 302
    film = await client.get(pointed.headers["location"])
    assert film.headers["content-type"] == "video/mp4"

    clock.advance(48 * 3600)
    assert (await client.get(pointed.headers["location"])).status_code == 403


@pytest.mark.parametrize(("script", "field"), [("fail", "error"), ("moderate", "response")])
async def test_a_failure_is_an_error_and_a_filtered_one_an_empty_response(
    client: httpx.AsyncClient, clock: Clock, script: str, field: str
) -> None:
    name = (await predict(client, f"[sim:{script}] a cat", sampleCount=2)).json()["name"]
    clock.advance(LONG_ENOUGH)

    done = await fetched(client, name)

    assert set(done) == {"name", "done", field}
    if field == "response":
        assert done["response"]["raiMediaFilteredCount"] == 2
        assert "videos" not in done["response"]


async def test_an_interaction_is_queued_then_in_progress_then_completed(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    begun = (await interact(client)).json()
    assert begun["status"] == "queued"

    clock.advance(21)
    url = f"{OMNI}/{begun['id']}"
    assert (await client.get(url, headers=KEY)).json()["status"] == "in_progress"

    clock.advance(LONG_ENOUGH)
    done = (await client.get(url, params={"stream": "false"}, headers=KEY)).json()
    assert done["status"] == "completed"
    assert [content["type"] for content in done["steps"][0]["content"]] == ["video"]

    # One that has ended can't be cancelled any more, and one that never was is "invalid".
    assert (await client.post(f"{url}/cancel", headers=KEY)).status_code == 400
    unknown = await client.get(f"{OMNI}/nothing", headers=KEY)
    assert "Invalid interaction name" in unknown.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": "gemini-3.8-flash"}, "model"),
        ({"input": " "}, "input"),
        ({"input": [{"type": "audio", "data": "x"}, {"type": "text", "text": "x"}]}, "input"),
        ({"input": [{"type": "image", "uri": "x"}, {"type": "text", "text": "x"}]}, "input"),
        ({"background": False}, "background"),
        ({"seed": 7}, "Unknown name seed"),
        ({"response_format": {"type": "text"}}, "response_format"),
        (
            {"response_format": {"type": "video", "delivery": "uri", "duration": 5}},
            "response_format.duration",
        ),
        (
            {"response_format": {"type": "video", "delivery": "uri", "fps": 24}},
            "Unknown name fps in response_format",
        ),
        ({"response_format": {"type": "video"}}, "response_format.delivery"),
        (
            {"generation_config": {"video_config": {"task": "edit"}}},
            "generation_config.video_config.task",
        ),
        ({"webhook_config": {"uris": "https://x"}}, "webhook_config.uris"),
    ],
)
async def test_an_interaction_that_would_be_refused_is_400_with_the_field_named(
    client: httpx.AsyncClient, changes: dict[str, Any], word: str
) -> None:
    answer = await interact(client, **changes)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].partition(": ")[0] == word


async def test_a_fault_finds_its_operation_by_the_prompt(
    client: httpx.AsyncClient,
) -> None:
    # Given an operation of each API, and a fault for the polls of one prompt
    operations = {
        "veo": (await predict(client, "the red cat")).json()["name"],
        "gemini": (await interact(client, input="the red cat")).json()["id"],
    }
    for provider in operations:
        fault = {"provider": provider, "on": "poll", "do": "status", "status": 503}
        answer = await client.post("/_sim/faults", json=[fault | {"match_prompt": "red cat"}])
        assert answer.status_code == 200
    other = (await predict(client, "the blue cat")).json()["name"]

    # Then only they are struck
    assert await fetched(client, other) == {"name": other}
    body = {"operationName": operations["veo"]}
    struck = await client.post(f"{MODEL}:fetchPredictOperation", json=body, headers=TOKEN)
    assert struck.status_code == 503
    assert (await client.get(f"{OMNI}/{operations['gemini']}", headers=KEY)).status_code == 503
