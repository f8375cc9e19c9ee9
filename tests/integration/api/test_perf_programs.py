"""Programs that speak Perf's API, over a real socket: they finish jobs and see failures."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from perf import AuthenticationError, PerfClient, PerfError, RateLimitError
from perf.exceptions import UsageLimitError

from models.limits import set_limits
from models.rows.limits import Holder
from tests.conformance.driving import node
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, in_front, ran, serving
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PATH, NATIVE = "/perf/v1/video/generations", "/v1/video/generations"
PROGRAMS = Path(__file__).with_name("programs")
POLLING = {"python": "perf_poll.py", "node": "perf_poll.mjs"}
#: Every field, and the defaults alone.
ASKED: list[dict[str, Any]] = [
    {
        "prompt": "a quiet valley, a stream, clouds drifting by",
        "model": "runway-gen3",
        "duration_seconds": 8,
        "resolution": "1080p",
        "aspect_ratio": "16:9",
    },
    {"prompt": "a dog at a drum kit in a smoky club"},
    {"prompt": "waves", "model": "luma-dream-machine", "duration_seconds": 4},
]


def polling(name: str) -> tuple[str, str]:
    """The command of a program that submits and polls."""
    return (str(node()) if name == "node" else sys.executable), str(PROGRAMS / POLLING[name])


@pytest.fixture
async def longtake(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Longtake]:
    async with serving(database_url, tmp_path, simulator.env) as one:
        yield one


@pytest.mark.parametrize("name", POLLING)
async def test_a_program_that_polls_completes_its_jobs(
    longtake: Longtake, simulator: Simulator, name: str
) -> None:
    delivered = [(8, "720p", 0.96), (4, "720p", 0.48), (5, "1080p", None)]
    for asked, (seconds, resolution, cost) in zip(ASKED, delivered, strict=True):
        output = await ran(
            *polling(name), f"{longtake.url}/perf", longtake.key, json.dumps(asked), "50"
        )
        done = json.loads(output)
        assert done.get("status") == "complete", done
        assert (done["duration_seconds"], done["resolution"]) == (seconds, resolution)
        assert cost is None or done["perf"]["cost_usd"] == cost
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            video = await http.get(done["video_url"])
        assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
    assert len(simulator.bill()) == len(ASKED)


@pytest.mark.parametrize("name", POLLING)
async def test_a_program_that_polls_sees_why_a_job_failed(longtake: Longtake, name: str) -> None:
    asked = json.dumps({"prompt": "[sim:moderate] something unspeakable"})

    output = await ran(*polling(name), f"{longtake.url}/perf", longtake.key, asked, "50")

    message = "Content policy violation: prompt contains prohibited content"
    assert json.loads(output) == {"thrown": message}


async def test_curl_creates_and_reads_with_the_documents_lines(longtake: Longtake) -> None:
    curl = shutil.which("curl")
    assert curl, "curl is needed, as for the README"
    address = longtake.url + PATH
    key = ("-H", f"Authorization: Bearer {longtake.key}")
    json_type = ("-H", "Content-Type: application/json")

    told = await ran(
        *(curl, "-s", "-i", "-X", "POST", address, *key, *json_type, "-d", json.dumps(ASKED[0]))
    )
    head, _, body = told.replace("\r\n", "\n").partition("\n\n")
    job = json.loads(body)
    assert " 202 " in head.splitlines()[0]
    assert "longtake-adapted: resolution=720p (asked 1080p)" in head.lower()
    assert job["status"] == "pending"

    async def is_complete() -> bool:
        shown = json.loads(await ran(curl, "-s", "-X", "GET", f"{address}/{job['id']}", *key))
        assert shown["status"] in {"pending", "processing", "complete"}, shown
        return bool(shown["status"] == "complete")

    await until(is_complete, within=180)


LIMITED = {"per_minute": (RateLimitError, True), "per_day": (UsageLimitError, False)}


@pytest.mark.parametrize("limit", LIMITED)
async def test_perfs_sdk_knows_a_limit_and_whether_to_send_again(
    longtake: Longtake, limit: str
) -> None:
    kind, is_worth_it = LIMITED[limit]
    await longtake.engine.database.run(
        lambda c: set_limits(c, Holder.TENANT, "acme", changes={limit: 1})
    )
    with PerfClient(longtake.key, base_url=f"{longtake.url}/perf") as client:
        first = await refused_by(client)
        error = await refused_by(client)

    # It takes every status but 200 for an error, also the documented 202 of a creation.
    assert first.status_code == 202
    assert type(error) is kind
    assert (error.status_code, error.is_retryable) == (429, is_worth_it)
    assert limit in error.message
    assert error.request_id


async def test_perfs_sdk_knows_a_wrong_key_and_reads_other_errors(longtake: Longtake) -> None:
    with PerfClient("lt_" + "a" * 32, base_url=f"{longtake.url}/perf") as stranger:
        assert type(await refused_by(stranger)) is AuthenticationError
    with PerfClient(longtake.key, base_url=f"{longtake.url}/perf") as client:
        error = await refused_by(client, prompt="")
    assert (error.status_code, error.error_type) == (400, "invalid_request")
    assert error.message == "prompt is required"


async def refused_by(client: PerfClient, **fields: Any) -> PerfError:
    """What the SDK raises for the answer to a creation; it has no verb of its own for videos."""
    with pytest.raises(PerfError) as raised:
        await asyncio.to_thread(
            client._do_request,  # noqa: SLF001 - its one way to any path
            "/v1/video/generations",
            {"prompt": "a red kite"} | fields,
        )
    return raised.value


async def test_longtake_behind_longtake_pays_once(
    database_url: str, inner_database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    """Our own adapter for Perf, pointed at our own dialect, completes a job and sees a failure."""
    async with serving(inner_database_url, tmp_path / "inner", simulator.env) as inner:
        perf = {"PERF_BASE_URL": f"{inner.url}/perf", "PERF_API_KEY": inner.key}
        async with in_front(database_url, tmp_path / "outer", perf) as http:
            asks = {PATH: {"model": "runway-gen3"}, NATIVE: {"model": "perf/runway-gen3"}}
            for path, model in asks.items():
                asked = {"prompt": "a red kite", "duration_seconds": 6, "resolution": "720p"}
                job = (await http.post(path, json=asked | model)).json()

                async def is_final(path: str = path, job: str = job["id"]) -> bool:
                    shown = (await http.get(f"{path}/{job}")).json()
                    return shown["status"] in {"complete", "failed"}

                await until(is_final, within=180)
                done = (await http.get(f"{path}/{job['id']}")).json()
                assert done["status"] == "complete", done
                assert (await http.get(done["video_url"])).status_code == 200
            failing = {"prompt": "[sim:moderate] no", "resolution": "720p"}
            path = PATH
            bad = (await http.post(path, json=failing)).json()["id"]

            async def has_failed() -> bool:
                return bool((await http.get(f"{path}/{bad}")).json()["status"] == "failed")

            await until(has_failed, within=180)
            message = (await http.get(f"{path}/{bad}")).json()["error_message"]
            assert message == "Content policy violation: prompt contains prohibited content"
        (counted,) = await inner.engine.database.fetch("SELECT count(*) FROM job")
    prompts = [str(row["body"]) for row in simulator.bill()]
    assert sum("a red kite" in prompt for prompt in prompts) == 2
    assert counted["count"] == 3
