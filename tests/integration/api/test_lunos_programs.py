"""Lunos' own client and programs for its API, over a real socket, against our dialect."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.budgets import make_prepaid
from tests.conformance.driving import LUNOS_CLIENT, Driven, Outcome, node
from tests.conformance.watching import watched
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, in_front, ran, serving
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PATH, NATIVE = "/lunos/v1/video/generations", "/v1/video/generations"
PROGRAMS = Path(__file__).with_name("programs")
MODEL = "google/veo-3.0-generate-preview"
#: Milliseconds between polls, and in all.
PATIENCE = (50, 60_000)
#: What Veo 3 makes.
FILM = (1280, 720, 8.0, 24)


@pytest.fixture
async def longtake(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Longtake]:
    async with serving(database_url, tmp_path, simulator.env) as one:
        yield one


async def _outcomes(
    longtake: Longtake, *calls: tuple[str, Sequence[object]], key: str = "", **settings: object
) -> list[Outcome]:
    """What became of the client's calls; the address ends with a slash, as some write it."""
    client = replace(LUNOS_CLIENT, settings={**LUNOS_CLIENT.settings, **settings})
    driven = Driven(client, f"{longtake.url}/lunos/", key or longtake.key)
    return await asyncio.to_thread(driven.outcomes, *calls)


async def _apps(longtake: Longtake) -> list[str]:
    rows = await longtake.engine.database.fetch("SELECT app_id FROM job ORDER BY id")
    return [row["app_id"] for row in rows]


async def test_lunos_client_makes_videos_with_each_of_its_methods(
    longtake: Longtake, simulator: Simulator
) -> None:
    waited, asked = await _outcomes(
        longtake,
        (
            "video.generateAndWait",
            (
                {
                    "prompt": "hills at dusk, birds",
                    "aspectRatio": "16:9",
                    "negativePrompt": "blurry",
                },
                *PATIENCE,
            ),
        ),
        (
            "video.generateVideoAndWait",
            ({"model": MODEL, "prompt": "a fox", "appId": "my-video-app"}, *PATIENCE),
        ),
    )
    started = await _outcomes(
        longtake,
        (
            "video.generateVideo",
            (
                {
                    "model": MODEL,
                    "prompt": "a lion",
                    "parameters": {"aspectRatio": "16:9", "negativePrompt": "drawing"},
                    "response_format": "mp4",
                    "appId": "my-video-app",
                },
            ),
        ),
        ("video.generate", ({"prompt": "a city", "model": MODEL, "user": "ann"},)),
        ("video.generateWidescreen", ({"prompt": "a chase", "negativePrompt": "blurry"},)),
        ("video.generateMP4", ({"prompt": "a forest", "aspectRatio": "16:9"},)),
    )

    for outcome in (waited, asked):
        assert outcome.value["status"] == "completed", outcome
        assert await asyncio.to_thread(watched, outcome.value["video_url"]) == FILM
    for outcome in started:
        assert not outcome.raised, outcome
        assert outcome.value["status"] == "pending"
        assert outcome.value["operation_name"].startswith("operations/veo-3.0-generate-preview/")

    async def are_completed() -> bool:
        shown = await _outcomes(
            longtake, *(("video.getVideoStatus", (one.value["id"], "my-app")) for one in started)
        )
        assert {one.value["status"] for one in shown} <= {"pending", "completed"}, shown
        return all(one.value["status"] == "completed" for one in shown)

    await until(are_completed, within=180)
    assert await _apps(longtake) == [
        *("longtake", "my-video-app", "my-video-app", "longtake", "longtake", "longtake")
    ]
    assert len(simulator.bill()) == 6


async def test_lunos_client_reads_a_failure_and_a_cancel(longtake: Longtake) -> None:
    (failed,) = await _outcomes(
        longtake, ("video.generateAndWait", ({"prompt": "[sim:fail] a cat"}, *PATIENCE))
    )
    (endless,) = await _outcomes(longtake, ("video.generate", ({"prompt": "[sim:never] a cat"},)))
    (job,) = await longtake.engine.database.fetch("SELECT max(id) AS id FROM job")
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        headers = {"Authorization": f"Bearer {longtake.key}"}
        address = f"{longtake.url}{NATIVE}/{job['id']}/cancel"
        assert (await http.post(address, headers=headers)).status_code == 200
    (cancelled,) = await _outcomes(longtake, ("video.getVideoStatus", (endless.value["id"],)))

    assert failed.raised[0] == "Error"
    assert failed.message.startswith("Video generation failed: ")
    assert "[object" not in failed.message
    assert cancelled.value["status"] == "failed"
    assert cancelled.value["error"] == "the job was cancelled"


async def test_lunos_client_recognises_the_errors(longtake: Longtake, simulator: Simulator) -> None:
    unknown, gone = await _outcomes(
        longtake,
        ("video.generate", ({"prompt": "a cat", "model": "google/veo-4"},)),
        ("video.getVideoStatus", ("video-op:user123:1",)),
    )
    (stranger,) = await _outcomes(
        longtake, ("video.generate", ({"prompt": "a cat"},)), key="YOUR_API_KEY", retries=3
    )
    await longtake.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    (broke,) = await _outcomes(longtake, ("video.generate", ({"prompt": "a cat"},)))

    assert (unknown.status, unknown.details) == (404, "Model not found")
    assert (gone.status, gone.details) == (404, "Operation not found")
    assert (stranger.status, stranger.raised[0]) == (401, "AuthenticationError")
    assert broke.status == 402
    assert simulator.bill() == []


async def test_lunos_client_sees_a_failed_start(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    """Nobody here has credentials for Veo."""
    pika_only = {name: simulator.env[name] for name in ("FAL_KEY", "FAL_BASE_URL")}
    async with serving(database_url, tmp_path, pika_only) as longtake:
        (outcome,) = await _outcomes(longtake, ("video.generate", ({"prompt": "a cat"},)))

    assert outcome.status == 500
    assert outcome.details == "Failed to start video generation"


@pytest.mark.parametrize("language", ["node", "python"])
async def test_a_program_that_polls_completes_its_job(
    longtake: Longtake, simulator: Simulator, language: str
) -> None:
    program = {
        "node": [str(node()), str(PROGRAMS / "lunos_poll.mjs")],
        "python": [sys.executable, str(PROGRAMS / "lunos_poll.py")],
    }[language]
    body = {
        "model": MODEL,
        "prompt": "a lion on a hill",
        "parameters": {"aspectRatio": "16:9", "negativePrompt": "drawing"},
        "response_format": "mp4",
    }

    async def told(**fields: Any) -> dict[str, Any]:
        given = json.dumps(body | fields)
        output = await ran(*program, f"{longtake.url}/lunos", longtake.key, given, "50")
        read: dict[str, Any] = json.loads(output)
        return read

    made = await told()
    assert (made["code"], made["operation"]["status"]) == (200, "pending")
    assert (made["ended"]["status"], made["ended"]["id"]) == ("completed", made["operation"]["id"])
    assert await asyncio.to_thread(watched, made["ended"]["video_url"]) == FILM
    refused = await told(model="google/veo-4")
    assert (refused["code"], refused["operation"]) == (404, {"error": "Model not found"})
    assert await _apps(longtake) == ["a-program"]
    assert len(simulator.bill()) == 1


async def test_curl_starts_and_asks_with_the_documents_lines(longtake: Longtake) -> None:
    curl = shutil.which("curl")
    assert curl, "curl is needed, as for the README"
    address = longtake.url + PATH
    headers = ("-H", f"Authorization: Bearer {longtake.key}", "-H", "X-App-ID: your-app-id")
    body = {
        "model": MODEL,
        "prompt": "a lion",
        "parameters": {"aspectRatio": "16:9", "negativePrompt": "drawing"},
    }

    told = await ran(
        *(curl, "-s", "-X", "POST", address, *headers),
        *("-H", "Content-Type: application/json", "-d", json.dumps(body)),
    )
    operation = json.loads(told)["id"]

    async def is_completed() -> bool:
        shown = json.loads(await ran(curl, "-s", "-X", "GET", f"{address}/{operation}", *headers))
        assert shown["status"] in {"pending", "completed"}, shown
        return bool(shown["status"] == "completed")

    await until(is_completed, within=180)


async def test_longtake_behind_longtake_pays_once(
    database_url: str, inner_database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    """Our own adapter for Lunos, pointed at our own dialect, completes a job and sees a failure."""
    async with serving(inner_database_url, tmp_path / "inner", simulator.env) as inner:
        lunos = {"LUNOS_BASE_URL": f"{inner.url}/lunos", "LUNOS_API_KEY": inner.key}
        async with in_front(database_url, tmp_path / "outer", lunos) as http:

            async def ended(path: str, job: str) -> dict[str, Any]:
                shown: dict[str, Any] = {}

                async def is_final() -> bool:
                    shown.update((await http.get(f"{path}/{job}")).json())
                    return shown["status"] in {"complete", "completed", "failed"}

                await until(is_final, within=180)
                return shown

            for path, model in ((PATH, MODEL), (NATIVE, f"lunos/{MODEL}")):
                body = {"model": model, "prompt": "a red kite"}
                job = (await http.post(path, json=body)).json()["id"]
                done = await ended(path, job)
                assert done["status"] in {"complete", "completed"}, done
                assert (await http.get(done["video_url"])).status_code == 200
            body = {"model": MODEL, "prompt": "[sim:fail] no"}
            failed = await ended(PATH, (await http.post(PATH, json=body)).json()["id"])
            assert failed["status"] == "failed"
        (counted,) = await inner.engine.database.fetch("SELECT count(*) FROM job")
    prompts = [str(row["body"]) for row in simulator.bill()]
    assert sum("a red kite" in prompt for prompt in prompts) == 2
    assert counted["count"] == 3
