"""Programs that call Layer's API over a real socket: Node's fetch waits, and sees late failures."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from models.gate import GateRequest
from tasks import gates
from tests.conformance.driving import node
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, in_front, ran, serving
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PROGRAMS = Path(__file__).with_name("programs")
NATIVE = "/v1/video/generations"
#: The status comes after half a second, and white space five times a second after it.
QUICK = {"LONGTAKE_LAYER_HEADERS_SECONDS": "0.5", "LONGTAKE_LAYER_SPACE_SECONDS": "0.2"}
NEVER = {"gateId": "shop", "data": {"prompt": "[sim:never] a fox"}}
#: How long fetch waits for a status, and how much later a job ends, in milliseconds.
PATIENCE, LATER = "3000", "15000"
FAILURE = {"fault": "unknown", "code": "provider_error", "message": "it broke"}


@asynccontextmanager
async def with_gate(
    database_url: str, folder: Path, environment: dict[str, str], model: str = "runway-gen3"
) -> AsyncIterator[Longtake]:
    async with serving(database_url, folder, environment) as longtake:
        wanted = GateRequest(name="shop", model=model)
        await gates.create(longtake.engine, wanted, tenant="acme")
        yield longtake


class Fetching:
    """Node's program, and the lines that it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self, *, within: float = 120.0) -> dict[str, Any]:
        """The next line; TimeoutError if there is none within so many seconds."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within):
            told: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return told


@asynccontextmanager
async def fetching(
    longtake: Longtake, body: Any, *, patience: str = PATIENCE, later: str = LATER
) -> AsyncIterator[Fetching]:
    process = await asyncio.create_subprocess_exec(
        *(str(node()), str(PROGRAMS / "layer_fetch.mjs"), f"{longtake.url}/layer", longtake.key),
        *(json.dumps(body), patience, later),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Fetching(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def end(longtake: Longtake, state: str) -> str:
    """End the only job as the workers do."""
    (job,) = await longtake.engine.database.fetch("SELECT id FROM job")
    await longtake.engine.database.fetch(
        "UPDATE output SET state = 'stored', key = 'k', sha256 = repeat('0', 64), bytes = 1, "
        "content_type = 'video/mp4', duration_seconds = 5 WHERE %s = 'complete' RETURNING id",
        (state,),
    )
    await longtake.engine.database.fetch(
        "UPDATE job SET state = %s, finished_at = now(), cost_micros = 0, error = %s RETURNING id",
        (state, Jsonb(FAILURE) if state == "failed" else None),
    )
    return str(job["id"])


async def has_a_job(longtake: Longtake) -> bool:
    return bool(await longtake.engine.database.fetch("SELECT id FROM job"))


async def test_fetch_waits_longer_than_its_timeout_for_headers(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    async with (
        with_gate(database_url, tmp_path, {**simulator.env, **QUICK}) as longtake,
        fetching(longtake, NEVER) as program,
    ):
        first = await program.line()
        later = await program.line()
        job = await end(longtake, "complete")
        done = await program.line()

    assert first == {"status": 200, "job": job}
    assert later == {"later": True}
    assert done["answer"]["id"] == job
    assert done["answer"]["videos"][0]["duration"] == 5
    assert done["answer"]["latency"] > int(LATER) - 1000


async def test_a_late_failure_rejects_fetchs_promise(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    async with (
        with_gate(database_url, tmp_path, {**simulator.env, **QUICK}) as longtake,
        fetching(longtake, NEVER) as program,
    ):
        first = await program.line()
        await end(longtake, "failed")
        told = await program.line()

    assert first["status"] == 200
    assert told["thrown"] == "terminated"
    assert told["cause"] == "UND_ERR_SOCKET"


async def test_an_early_failure_has_its_status_and_message(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    async with (
        with_gate(database_url, tmp_path, dict(simulator.env)) as longtake,
        fetching(longtake, {"gateId": "shop", "data": {"prompt": "[sim:fail] no"}}) as program,
    ):
        first, told = await program.line(), await program.line()

    assert first["status"] == 500
    assert told["thrown"]
    assert told["thrown"] != "terminated"


async def test_a_client_that_hangs_up_leaves_a_job_that_goes_on(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    # Given a status that is held back for longer than fetch waits
    async with with_gate(database_url, tmp_path, dict(simulator.env)) as longtake:
        async with fetching(longtake, NEVER) as program:
            told = await program.line()
        await until(lambda: has_a_job(longtake))
        (job,) = await longtake.engine.database.fetch("SELECT state FROM job")

    # Then fetch gave up, and the job did not
    assert told["cause"] == "UND_ERR_HEADERS_TIMEOUT"
    assert job["state"] in {"pending", "submitting", "processing"}


INLINE = "data:image/jpeg;base64,/9j/4AAQSkZJRg=="
#: What the samples and tables of its document set, one payload each.
CALLS: list[dict[str, Any]] = [
    {"data": {"size": "1280x720"}},
    {"data": {"duration": 10}},
    {
        "data": {"image": {"url": "https://a.example/building.jpg"}},
        "model": "luma-dream-machine",
    },
    {"data": {"fps": 30}},
    {"data": {"negativePrompt": "people, cars, buildings, modern objects"}},
    {"data": {"numberOfVideos": 3}},
    {"data": {"seed": 42}},
    {"data": {"size": "720x1280", "duration": 5}, "metadata": {"platform": "instagram"}},
    {"data": {"size": "1792x1024", "duration": 8, "negativePrompt": "people"}},
    {"model": "runway-gen3", "data": {}},
    {"data": {"size": "1024x1792", "personGeneration": "allow_adult"}},
    {"data": {"size": "1280x720", "duration": "10", "fps": 30}},
    {"data": {"image": {"base64": INLINE}, "lastFrame": {"base64": INLINE}, "duration": 5}},
    {
        "data": {
            "referenceImages": [
                {"url": "https://pictures.example/her.jpg", "referenceType": "subject"},
                {"base64": INLINE, "referenceType": "style"},
                {"base64": INLINE, "referenceType": "asset"},
            ],
            "duration": 6,
        }
    },
    {
        "metadata": {"userId": "user-1", "campaign": "summer", "platform": "shorts"},
        "data": {"size": "720x1280", "duration": 10},
    },
]


async def test_every_call_of_the_document_at_once(
    database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    payloads = [
        {**call, "gateId": "shop", "data": {"prompt": f"waves {number}", **call["data"]}}
        for number, call in enumerate(CALLS)
    ]
    async with with_gate(database_url, tmp_path, {**simulator.env, **QUICK}) as longtake:
        output = await ran(
            *(
                str(node()),
                str(PROGRAMS / "layer_calls.mjs"),
                f"{longtake.url}/layer/",
                longtake.key,
            ),
            json.dumps(payloads),
        )
        given = json.loads(output)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            videos = [await http.get(url) for one in given for url in one["urls"]]

    assert [len(one["urls"]) for one in given] == [
        call["data"].get("numberOfVideos", 1) for call in CALLS
    ]
    assert {video.status_code for video in videos} == {200}
    assert all(float(one["cost"]) > 0 and float(one["perSecond"]) > 0 for one in given)


async def test_longtake_behind_longtake_pays_once(
    database_url: str, inner_database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    """Our own adapter for Layer, pointed at our own dialect, completes a job and sees a failure."""
    async with with_gate(inner_database_url, tmp_path / "inner", dict(simulator.env)) as inner:
        layer = {
            "LAYER_BASE_URL": f"{inner.url}/layer",
            "LAYER_API_KEY": inner.key,
            "LAYER_GATE_ID": "shop",
        }
        async with in_front(database_url, tmp_path / "outer", layer) as http:
            shown = {}
            for prompt in ("a red kite", "[sim:moderate] no"):
                asked = {"prompt": prompt, "model": "layer/runway-gen3", "duration_seconds": 6}
                job = (await http.post(NATIVE, json=asked)).json()["id"]

                async def is_final(job: str = job) -> bool:
                    answer = (await http.get(f"{NATIVE}/{job}")).json()
                    return answer["status"] in {"complete", "failed"}

                await until(is_final, within=180)
                shown[prompt] = (await http.get(f"{NATIVE}/{job}")).json()
            video = await http.get(shown["a red kite"].get("video_url", "/"))
        (counted,) = await inner.engine.database.fetch("SELECT count(*) FROM job")
    prompts = [str(row["body"]) for row in simulator.bill()]
    assert shown["a red kite"]["status"] == "complete", shown
    assert video.status_code == 200
    assert sum("a red kite" in prompt for prompt in prompts) == 1
    assert shown["[sim:moderate] no"]["status"] == "failed"
    assert shown["[sim:moderate] no"]["error"]["code"] == "content_policy"
    assert counted["count"] == 2
