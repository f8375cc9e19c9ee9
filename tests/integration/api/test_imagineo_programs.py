"""Programs that speak Imagineo's API, over a real socket: runs from pictures and from runs."""

import asyncio
import json
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from models.verbs import What
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.conformance.driving import node
from tests.conformance.judging import IMAGE
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, ran, serving
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PROGRAM = Path(__file__).with_name("programs") / "imagineo_generate.mjs"
RULE = "Either image_url or source_run_id must be provided, but not both."


@pytest.fixture
async def longtake(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Longtake]:
    async with serving(database_url, tmp_path, simulator.env) as one:
        yield one


async def _told(longtake: Longtake, payload: dict[str, Any]) -> dict[str, Any]:
    base = f"{longtake.url}/imagineo"
    output = await ran(str(node()), str(PROGRAM), base, longtake.key, json.dumps(payload), "50")
    told: dict[str, Any] = json.loads(output)
    return told


async def test_nodes_program_makes_runs_from_a_picture_and_from_a_run(
    longtake: Longtake, simulator: Simulator
) -> None:
    """Every field of the payload but the webhook's."""
    from_picture = {
        "prompt": "a harbour at dusk, the boats sway",
        "negative_prompt": "rain",
        "image_url": IMAGE,
        "aspect_ratio": "16:9",
        "duration": 5,
        "seed": 42,
        "cfg_scale": 7.5,
        "motion_bucket_id": 127,
        "fps": 24,
    }
    first = await _told(longtake, from_picture)
    run_id = first["begun"]["run_id"]
    second = await _told(longtake, {"source_run_id": run_id, "aspect_ratio": "9:16"})

    for told, ratio, seconds in ((first, "16:9", 5), (second, "9:16", 3)):
        assert told["begun"]["status"] == "queued"
        assert told["ended"]["status"] == "completed", told
        assert told["ended"]["run_id"] == told["begun"]["run_id"]
        made = told["ended"]["input"]
        assert (made["aspect_ratio"], made["duration"]) == (ratio, seconds)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            video = await http.get(told["ended"]["video_url"])
        assert (video.status_code, video.headers["Content-Type"]) == (200, "video/mp4")
    assert second["begun"]["input"]["source_run_id"] == run_id
    assert len(simulator.bill()) == 2


async def test_nodes_program_sees_the_rule_and_a_failure(
    longtake: Longtake, simulator: Simulator
) -> None:
    neither = await _told(longtake, {"prompt": "a city", "aspect_ratio": "16:9", "duration": 5})
    both = await _told(longtake, {"image_url": IMAGE, "source_run_id": "run_1"})
    failed = await _told(longtake, {"image_url": IMAGE, "prompt": "[sim:fail] no"})

    assert neither == both == {"thrown": RULE}
    assert failed["ended"]["status"] == "failed"
    assert failed["ended"]["error"].keys() == {"code", "message"}
    assert len(simulator.bill()) == 1


async def test_the_webhook_tells_of_completion_and_of_failure_and_is_signed(
    longtake: Longtake,
) -> None:
    """The published package of Standard Webhooks verifies what arrives."""
    secret = "a token of sixteen bytes"
    arrived: list[dict[str, Any]] = []
    verifying = Webhook("whsec_" + b64encode(secret.encode()).decode())

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:-1]
        headers = {
            name.lower(): value for name, _, value in (each.partition(": ") for each in lines)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        arrived.append(verifying.verify(body, headers))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        hook = {"webhook_url": f"http://127.0.0.1:{port}/hook", "webhook_secret": secret}
        told = [
            await _told(longtake, {"image_url": IMAGE, "prompt": prompt} | hook)
            for prompt in ("a harbour", "[sim:fail] no")
        ]
        engine = longtake.engine
        await Pump(verb_for(What.DELIVER, engine), engine.database, None, seconds=5).run()

    assert {(each["type"], each["data"]["run_id"]) for each in arrived} == {
        ("video.completed", told[0]["begun"]["run_id"]),
        ("video.failed", told[1]["begun"]["run_id"]),
    }
    assert secret not in json.dumps([told, arrived])


async def test_curl_begins_a_run_and_reads_it(longtake: Longtake) -> None:
    curl = shutil.which("curl")
    assert curl, "curl is needed, as for the README"
    base = f"{longtake.url}/imagineo/v1"
    key = ("-H", f"X-API-Key: {longtake.key}")
    body = json.dumps({"image_url": IMAGE, "prompt": "the boats sway", "duration": 5})

    begun = json.loads(await ran(curl, "-s", f"{base}/videos/generate", *key, "-d", body))
    assert begun["status"] == "queued"

    async def is_completed() -> bool:
        shown = json.loads(await ran(curl, "-s", f"{base}/runs/{begun['run_id']}", *key))
        assert shown["status"] in {"queued", "processing", "completed"}, shown
        return bool(shown["status"] == "completed")

    await until(is_completed, within=180)
