"""Both clients against the whole of Longtake, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import pytest

import longtake
from longtake import AsyncClient, Client
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, serving

pytestmark = pytest.mark.anyio
#: Seconds in which a simulated video is certainly made.
SOON = 60.0


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Longtake]:
    async with serving(database_url, tmp_path / "served", simulator.env) as one:
        yield one


class Calls:
    """A client of either kind, called in the same way; the sync one in a thread."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    async def __call__(self, name: str, /, *args: Any, **names: Any) -> Any:
        method = attrgetter(name)(self._client)
        if isinstance(self._client, AsyncClient):
            found = method(*args, **names)
            return [each async for each in found] if hasattr(found, "asend") else await found
        return await asyncio.to_thread(_collected, method, *args, **names)

    async def close(self) -> None:
        if isinstance(self._client, AsyncClient):
            await self._client.aclose()
        else:
            self._client.close()


def _collected(method: Callable[..., Any], /, *args: Any, **names: Any) -> Any:
    found = method(*args, **names)
    return list(found) if hasattr(found, "send") else found


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
async def client(request: pytest.FixtureRequest, server: Longtake) -> AsyncIterator[Calls]:
    calls = Calls(request.param(server.key, server.url))
    yield calls
    await calls.close()


async def test_generate_makes_a_video_and_brings_it(client: Calls, tmp_path: Path) -> None:
    seen: list[longtake.Job] = []

    path = tmp_path / "fox.mp4"
    job = await client(
        "generate", "a fox in fresh snow", path, timeout=SOON, on_progress=seen.append
    )

    assert job.status == "complete"
    assert job.cost_usd == job.estimated_cost_usd
    (video,) = job.videos
    content = path.read_bytes()
    assert (sha256(content).hexdigest(), len(content)) == (video.sha256, video.bytes)
    assert seen[0].id == job.id
    assert [each.is_final for each in seen].index(True) == len(seen) - 1


async def test_a_download_goes_on_in_the_middle(client: Calls, tmp_path: Path) -> None:
    job = await client("generate", "a fox in fresh snow", timeout=SOON)
    whole = (await client("download", job, tmp_path / "whole.mp4")).read_bytes()
    (tmp_path / "fox.mp4.part").write_bytes(whole[: len(whole) // 2])
    told: list[tuple[int, int]] = []

    await client(
        "download",
        job.id,
        tmp_path / "fox.mp4",
        on_progress=lambda *progress: told.append(progress),
    )

    assert (tmp_path / "fox.mp4").read_bytes() == whole
    assert told[0][0] > len(whole) // 2


async def test_a_repeat_under_a_key_is_the_same_job(client: Calls, server: Longtake) -> None:
    first = await client("submit", "a fox in fresh snow", idempotency_key="order-1", app_id="shop")
    again = await client("submit", "a fox in fresh snow", idempotency_key="order-1", app_id="shop")

    assert again.id == first.id
    assert again.app_id == "shop"
    with pytest.raises(longtake.InvalidRequest) as raised:
        await client("submit", "another", idempotency_key="order-1")
    assert (raised.value.status, raised.value.type) == (422, "idempotency_mismatch")
    (count,) = await server.engine.database.fetch("SELECT count(*) FROM job")
    assert count["count"] == 1


async def test_a_failed_job_is_raised_and_retried(client: Calls) -> None:
    with pytest.raises(longtake.JobFailed) as raised:
        await client("generate", "[sim:fail] a fox", timeout=SOON)

    failed = raised.value.job
    assert failed.error is not None
    assert f"({failed.error.code})" in str(raised.value)
    retried = await client("retry", failed.id)
    assert retried.retry_of == failed.id
    with pytest.raises(longtake.NoVideo):
        await client("download", failed, Path("nowhere.mp4"))


async def test_a_cancelled_job_is_final_and_a_deleted_one_is_not_found(client: Calls) -> None:
    job = await client("submit", "[sim:never] a fox")
    with pytest.raises(longtake.WaitTimeout) as raised:
        await client("wait", job.id, timeout=0.1)
    assert raised.value.last is not None
    assert raised.value.last.id == job.id

    assert (await client("cancel", job.id)).is_final
    assert (await client("wait", job.id, timeout=SOON)).status == "cancelled"
    deleted = await client("delete", job.id)

    assert deleted.id == job.id
    with pytest.raises(longtake.NotFound) as gone:
        await client("get", job.id)
    assert gone.value.code == "job_deleted"


async def test_lists_go_over_all_pages(client: Calls) -> None:
    made = [(await client("submit", f"fox {number}")).id for number in range(5)]

    found = await client("list", limit=2)

    assert [job.id for job in found] == made[::-1]


async def test_refusals_say_what_the_api_says(client: Calls, server: Longtake) -> None:
    with pytest.raises(longtake.InvalidRequest) as raised:
        await client("submit", "a fox", duration_seconds=-1)
    assert raised.value.param == "duration_seconds"
    assert raised.value.request_id
    with pytest.raises(longtake.InvalidRequest):
        await client("list", colour="red")

    stranger = Calls(AsyncClient("lt_" + "x" * 32, server.url))
    with pytest.raises(longtake.Unauthorized):
        await stranger("get", "job_vid_1")
    await stranger.close()


async def test_models_and_usage_are_typed(client: Calls) -> None:
    job = await client("generate", "a fox in fresh snow", timeout=SOON)

    models = await client("models")
    (usage,) = await client("usage", group_by="model")

    assert job.model in {
        name for model in models if model.available for name in (model.id, *model.aliases)
    }
    assert (usage.jobs, usage.complete, usage.cost_usd) == (1, 1, job.cost_usd)
    assert usage.raw["model"] == job.model


async def test_a_lost_answer_makes_no_second_job(server: Longtake) -> None:
    class Loses(httpx.AsyncHTTPTransport):
        """Loses the first answer, after the API has given it."""

        has_lost = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if not self.has_lost:
                self.has_lost = True
                json.loads(await response.aread())
                raise httpx.ReadError("reset")
            return response

    async with AsyncClient(server.key, server.url, transport=Loses()) as client:
        job = await client.submit("a fox in fresh snow")

    rows = await server.engine.database.fetch("SELECT id FROM job")
    assert [row["id"] for row in rows] == [job.id]
