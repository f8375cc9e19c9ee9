"""AI/ML API's own clients and programs for it, over a real socket, against our dialect."""

import asyncio
import json
import shutil
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from models.budgets import make_prepaid
from tests.conformance.driving import AIMLAPI_SDK, LANGCHAIN_AIMLAPI, Driven, Outcome, node
from tests.conformance.judging import IMAGE, LAST
from tests.conformance.watching import seen, watched
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, in_front, ran, serving
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
LEGACY = "/v2/generate/video/runway/generation"
UNIVERSAL, NATIVE = "/v2/video/generations", "/v1/video/generations"
PROGRAMS = Path(__file__).with_name("programs")
#: Seconds between polls, and in all.
PATIENCE = {"poll_interval": 0.05, "timeout": 50}
VEO = {"model": "google/veo-3.1-t2v", "prompt": "a cät", "poll_interval": 0.05, "poll_timeout": 50}


@pytest.fixture
async def longtake(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Longtake]:
    async with serving(database_url, tmp_path, simulator.env) as one:
        yield one


async def _langchain(
    longtake: Longtake, *calls: dict[str, Any], key: str | None = None
) -> list[Outcome]:
    """What became of its calls below the prefix."""
    driven = Driven(LANGCHAIN_AIMLAPI, f"{longtake.url}/aimlapi/v2", key or longtake.key)
    asked = [("generate_videos", PATIENCE | call) for call in calls]
    return await asyncio.to_thread(driven.outcomes, *asked)


async def _sdk(longtake: Longtake, *calls: dict[str, Any], key: str | None = None) -> list[Outcome]:
    """What became of its calls; it drops the path of its base address."""
    driven = Driven(AIMLAPI_SDK, f"{longtake.url}/aimlapi/v1", key or longtake.key)
    asked = [("videos.generate_with_polling", VEO | call) for call in calls]
    return await asyncio.to_thread(driven.outcomes, *asked)


async def _watched(url: str) -> tuple[int, int, float, int]:
    return await asyncio.to_thread(watched, url)


async def test_langchain_aimlapi_makes_videos_under_links_and_in_base64(
    longtake: Longtake, simulator: Simulator
) -> None:
    one, two, inline = await _langchain(
        longtake,
        {"prompt": "a cät"},
        {"prompt": "two birds", "n": 2},
        {"prompt": "a fish", "n": 2, "response_format": "b64_json"},
    )

    for outcome, count in ((one, 1), (two, 2)):
        assert len(outcome.value) == count, outcome
        for url in outcome.value:
            assert await _watched(url) == (1280, 720, 8.0, 24)
    films = [seen(b64decode(video)) for video in inline.value]
    assert films == [(1280, 720, 8.0, 24)] * 2
    assert len({*two.value}) == 2
    prompts = [str(row["body"]) for row in simulator.bill()]
    assert [any(words in prompt for prompt in prompts) for words in ("cät", "birds", "fish")] == [
        True
    ] * 3


async def test_langchain_aimlapi_sees_failures_and_refusals(
    longtake: Longtake, simulator: Simulator
) -> None:
    failed, moderated, empty, long = await _langchain(
        longtake,
        {"prompt": "[sim:fail] a cat"},
        {"prompt": "[sim:moderate] a cat"},
        {"prompt": ""},
        {"prompt": "a", "n": 11},
    )
    (stranger,) = await _langchain(longtake, {"prompt": "a"}, key="my_key_of_the_vendor")
    await longtake.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    (broke,) = await _langchain(longtake, {"prompt": "a"})

    for outcome, words in ((failed, "'status': 'error'"), (moderated, "content moderation")):
        assert outcome.raised[0] == "RuntimeError"
        assert words in outcome.message
    assert [one.status for one in (empty, long, stranger, broke)] == [400, 400, 401, 403]
    assert {one.raised[0] for one in (empty, long, stranger, broke)} == {"HTTPStatusError"}
    assert len(simulator.bill()) == 2


async def test_aimlapi_sdk_makes_videos_from_text_and_from_a_picture(
    longtake: Longtake, simulator: Simulator
) -> None:
    text, image, film = await _sdk(
        longtake,
        {
            "aspect_ratio": "9:16",
            "duration": 6,
            "negative_prompt": "rain",
            "seed": 7,
            "enhance_prompt": True,
            "extra_body": {"resolution": "720p"},
        },
        {
            "model": "runway/gen4_turbo",
            "duration": 10,
            "extra_body": {"image_url": IMAGE, "tail_image_url": LAST},
        },
        {"duration": 4, "return_bytes": True, "extra_body": {"generate_audio": False}},
    )

    assert await _watched(text.value["video"]["url"]) == (720, 1280, 6.0, 24)
    assert await _watched(image.value["video"]["url"]) == (1280, 720, 10.0, 24)
    assert seen(b64decode(film.value)) == (1920, 1080, 4.0, 24)
    assert (text.value["status"], text.value["error"]) == ("completed", None)
    usage = text.value["meta"]["usage"]
    assert usage["credits_used"] == round(usage["usd_spent"] * 2_000_000) > 0
    assert len(simulator.bill()) == 3


async def test_aimlapi_sdk_hands_over_failures_and_recognises_refusals(
    longtake: Longtake, simulator: Simulator
) -> None:
    failed, moderated, unknown, long = await _sdk(
        longtake,
        {"prompt": "[sim:fail] a cat"},
        {"prompt": "[sim:moderate] a cat"},
        {"model": "nobody/nothing"},
        {"duration": 60},
    )
    (stranger,) = await _sdk(longtake, {}, key="my_key_of_the_vendor")
    await longtake.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    (broke,) = await _sdk(longtake, {})

    assert (failed.value["status"], failed.value["video"]) == ("error", None)
    assert moderated.value["error"]["name"] == "content_policy"
    assert [(one.status, one.raised[0]) for one in (unknown, long, stranger, broke)] == [
        (400, "BadRequestError"),
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
    ]
    assert "Expected 4 | 6 | 8, received 60" in long.message
    assert len(simulator.bill()) == 2


@pytest.mark.parametrize("language", ["node", "python"])
@pytest.mark.parametrize("prefix", ["", "/aimlapi"])
async def test_a_program_that_polls_completes_what_stands_in_the_page(
    longtake: Longtake, simulator: Simulator, language: str, prefix: str
) -> None:
    program = {
        "node": [str(node()), str(PROGRAMS / "aimlapi_generate.mjs")],
        "python": [sys.executable, str(PROGRAMS / "aimlapi_generate.py")],
    }[language]

    async def told(**fields: Any) -> dict[str, Any]:
        body = {"prompt": "a jellyfish in the sea", "ratio": "16:9"} | fields
        address = longtake.url + prefix + LEGACY
        read: dict[str, Any] = json.loads(
            await ran(*program, address, longtake.key, json.dumps(body), "50")
        )
        return read

    made = await told(model="gen3a_turbo", image_url=IMAGE, duration=5)
    assert (made["code"], made["generation"]["status"]) == (201, "queued")
    assert (made["ended"]["status"], made["ended"]["id"]) == ("completed", made["generation"]["id"])
    assert set(made["statuses"][:-1]) <= {"queued", "generating"}
    (link,) = made["ended"]["video"]
    assert await _watched(link) == (1280, 720, 5.0, 24)
    from_text = await told(ratio="9:16", duration=5)
    assert await _watched(from_text["ended"]["video"][0]) == (720, 1280, 5.0, 24)
    failed = await told(prompt="[sim:fail] no")
    assert failed["ended"]["status"] == "error"
    refused = await told(prompt="x" * 513)
    assert (refused["code"], refused["generation"]["statusCode"]) == (400, 400)
    assert len(simulator.bill()) == 3


async def test_curl_creates_and_polls(longtake: Longtake) -> None:
    curl = shutil.which("curl")
    assert curl, "curl is needed, as for the README"
    address = longtake.url + LEGACY
    headers = ("-H", f"Authorization: Bearer {longtake.key}")
    body = json.dumps({"model": "gen3a_turbo", "prompt": "a jellyfish", "ratio": "16:9"})

    # no content type of JSON's: curl's own is that of a form
    told = await ran(curl, "-s", "-i", "-X", "POST", address, *headers, "-d", body)
    head, _, created = told.replace("\r\n", "\n").partition("\n\n")
    generation = json.loads(created)["id"]
    assert " 201 " in head.splitlines()[0]
    assert "longtake-adapted: model=gen4.5 (asked gen3a_turbo)" in head.lower()

    async def is_completed() -> bool:
        query = f"{address}?generation_id={generation}"
        shown = json.loads(await ran(curl, "-s", query, *headers))
        assert shown["status"] in {"queued", "generating", "completed"}, shown
        return bool(shown["status"] == "completed")

    await until(is_completed, within=180)


async def test_longtake_behind_longtake_pays_once(
    database_url: str, inner_database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    """Both of our adapters for AI/ML API, pointed at our dialect, complete jobs, and fail one."""
    async with serving(inner_database_url, tmp_path / "inner", simulator.env) as inner:
        aimlapi = {"AIMLAPI_BASE_URL": f"{inner.url}/aimlapi/v2", "AIMLAPI_API_KEY": inner.key}
        async with in_front(database_url, tmp_path / "outer", aimlapi) as http:

            async def ended(path: str, **fields: Any) -> dict[str, Any]:
                created = await http.post(path, json={"prompt": "a red kite"} | fields)
                assert created.is_success, created.text
                job, shown = created.json()["id"], dict[str, Any]()
                where = (path, {"generation_id": job}) if path != NATIVE else (f"{path}/{job}", {})

                async def is_final() -> bool:
                    shown.update((await http.get(where[0], params=where[1])).json())
                    return shown["status"] in {"complete", "completed", "failed", "error"}

                await until(is_final, within=180)
                return shown

            for model in ("aimlapi/gen4_turbo", "aimlapi_legacy/gen4_turbo", "aimlapi/veo-3.1"):
                image = {"image": IMAGE} if "gen4" in model else {}
                done = await ended(NATIVE, model=model, **image)
                assert done["status"] == "complete", done
                assert done["cost_usd"] > 0
                assert (await http.get(done["video_url"])).status_code == 200
            done = await ended(UNIVERSAL, model="luma/ray-3.2")
            assert done["status"] == "completed", done
            assert (await http.get(done["video"]["url"])).status_code == 200
            failed = await ended(LEGACY, prompt="[sim:moderate] no", image_url=IMAGE)
            assert (failed["status"], failed["error"]["name"]) == ("error", "content_policy")
        (counted,) = await inner.engine.database.fetch("SELECT count(*) FROM job")
    kites = [row for row in simulator.bill() if "a red kite" in str(row["body"])]
    assert sorted(str(row["provider"]) for row in kites) == sorted(
        ["runway", "runway", "veo", "luma_agents"]
    )
    assert counted["count"] == 5
