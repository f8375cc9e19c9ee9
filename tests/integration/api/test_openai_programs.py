"""OpenAI's own SDK and curl, over a real socket, against our dialect."""

import asyncio
import io
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import av
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from models.budgets import make_prepaid
from tests.conformance.watching import seen
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, in_front, ran, serving
from tests.integration.engine.waiting import until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]
T = TypeVar("T")
NATIVE = "/v1/video/generations"
PNG = b"\x89PNG\r\n\x1a\n"
#: Milliseconds between polls; without it the SDK waits as the header says.
OFTEN = 50


@pytest.fixture
async def longtake(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Longtake]:
    async with serving(database_url, tmp_path, simulator.env) as one:
        yield one


@contextmanager
def _speaking(longtake: Longtake, **options: Any) -> Iterator[OpenAI]:
    given = {"api_key": longtake.key, "base_url": f"{longtake.url}/v1", "max_retries": 0}
    with OpenAI(**{"timeout": 30, **given, **options}) as client:
        yield client


async def _asked(longtake: Longtake, ask: Callable[[OpenAI], T], **options: Any) -> T:
    """What a program gets from the SDK, on a thread beside the server's loop."""

    def run() -> T:
        with _speaking(longtake, **options) as client:
            return ask(client)

    return await asyncio.to_thread(run)


async def _refused(
    longtake: Longtake, ask: Callable[[OpenAI], object], **options: Any
) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await _asked(longtake, ask, **options)
    return caught.value


async def test_the_sdk_creates_waits_and_downloads(
    longtake: Longtake, simulator: Simulator
) -> None:
    def made(client: OpenAI) -> tuple[Any, bytes, list[bytes]]:
        video = client.videos.create_and_poll(
            prompt="a cät",
            model="sora-2-pro",
            seconds="8",
            size="1024x1792",
            input_reference=("a.png", PNG, "image/png"),
            poll_interval_ms=OFTEN,
        )
        stills = [
            client.videos.download_content(video.id, variant="thumbnail"),
            client.videos.download_content(video.id, variant="spritesheet"),
        ]
        film = client.videos.download_content(video.id).read()
        return video, film, [still.read() for still in stills]

    video, film, stills = await _asked(longtake, made)

    assert (video.status, video.progress, video.prompt) == ("completed", 100, "a cät")
    assert (video.model, video.seconds, video.size) == ("sora-2-pro", "8", "1024x1792")
    assert video.completed_at is not None
    assert video.completed_at >= video.created_at
    assert seen(film)[:3] == (1024, 1792, 8.0)
    assert [still[:2] for still in stills] == [b"\xff\xd8"] * 2
    (row,) = simulator.bill()
    assert isinstance(row["body"], dict)
    assert row["body"]["input_reference"] == {
        "filename": "image.png",
        "content_type": "image/png",
        "bytes": len(PNG),
    }


async def test_the_sdks_own_wait_follows_the_header_with_the_defaults(longtake: Longtake) -> None:
    video = await _asked(longtake, lambda client: client.videos.create_and_poll(prompt="a cat"))

    assert (video.status, video.model) == ("completed", "sora-2")
    assert (video.seconds, video.size) == ("4", "720x1280")


async def test_the_asynchronous_sdk_does_the_same(longtake: Longtake) -> None:
    async with AsyncOpenAI(
        api_key=longtake.key, base_url=f"{longtake.url}/openai/v1/", max_retries=0
    ) as client:
        video = await client.videos.create_and_poll(
            prompt="a cat", model="runway-gen3", seconds="8", poll_interval_ms=OFTEN
        )
        film = (await client.videos.download_content(video.id)).content

    assert (video.status, video.model) == ("completed", "runway-gen3")
    assert seen(film)[:3] == (720, 1280, 8.0)


async def test_the_sdk_reads_raw_bytes_pages_and_ranges_and_deletes(longtake: Longtake) -> None:
    def done(client: OpenAI) -> None:
        old = client.videos.create_and_poll(
            prompt="a dog", input_reference=PNG, poll_interval_ms=OFTEN
        )
        new = client.videos.create(prompt="[sim:never] a cat")
        page = client.videos.list(limit=1)
        assert [one.id for one in page.data] == [new.id]
        assert [one.id for one in page.get_next_page().data] == [old.id]
        assert [one.id for one in client.videos.list(limit=1, order="asc")] == [old.id, new.id]
        assert [one.id for one in client.videos.list(after=new.id)] == [old.id]

        part = client.videos.download_content(old.id, extra_headers={"Range": "bytes=4-7"})
        assert (part.response.status_code, part.read()) == (206, b"ftyp")

        for video in (old, new):
            deleted = client.videos.delete(video.id)
            assert (deleted.id, deleted.deleted, deleted.object) == (
                *(video.id, True),
                "video.deleted",
            )
            with pytest.raises(openai.NotFoundError):
                client.videos.retrieve(video.id)
        assert client.videos.list().data == []

    await _asked(longtake, done)


@pytest.mark.parametrize(
    ("script", "code"), [("fail", "provider_unknown"), ("moderate", "moderation_blocked")]
)
async def test_the_sdk_reads_a_failure(longtake: Longtake, script: str, code: str) -> None:
    def failed(client: OpenAI) -> Any:
        video = client.videos.create_and_poll(
            prompt=f"[sim:{script}] a cat", poll_interval_ms=OFTEN
        )
        with pytest.raises(openai.NotFoundError):
            client.videos.download_content(video.id)
        return video

    video = await _asked(longtake, failed)

    assert video.status == "failed"
    assert video.error.code == code
    assert video.error.message


async def test_the_sdk_recognises_the_errors(longtake: Longtake, simulator: Simulator) -> None:
    def cat(client: OpenAI, **more: Any) -> object:
        return client.videos.create(prompt="a cat", **more)

    wrong = await _refused(longtake, lambda client: cat(client, size="1920x1080"))
    stranger = await _refused(longtake, cat, api_key="sk-abc")
    gone = await _refused(longtake, lambda client: client.videos.retrieve("video_123"))
    await longtake.engine.database.run(lambda connection: make_prepaid(connection, "acme"))
    # Were it repeated, as the SDK repeats a 429, this would take seconds.
    broke = await _refused(longtake, cat, max_retries=5)

    assert isinstance(wrong, openai.BadRequestError)
    assert (wrong.param, wrong.code) == ("size", "invalid_value")
    assert isinstance(stranger, openai.AuthenticationError)
    assert stranger.code == "invalid_api_key"
    assert isinstance(gone, openai.NotFoundError)
    assert isinstance(broke, openai.RateLimitError)
    assert (broke.code, broke.type) == ("insufficient_quota", "insufficient_quota")
    assert broke.request_id
    assert simulator.bill() == []


async def test_the_sdk_is_told_what_is_not_supported(longtake: Longtake) -> None:
    asks: list[Callable[[OpenAI], object]] = [
        lambda client: client.videos.remix("video_1", prompt="a"),
        lambda client: client.videos.edit(prompt="a", video=b"film"),
        lambda client: client.videos.extend(prompt="a", seconds="4", video=b"film"),
        lambda client: client.videos.create_character(name="a", video=b"film"),
        lambda client: client.videos.get_character("char_1"),
    ]
    for ask in asks:
        refused = await _refused(longtake, ask)
        assert isinstance(refused, openai.BadRequestError)
        assert "not supported" in refused.message


async def test_curl_sends_json_and_forms(longtake: Longtake, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    assert curl, "curl is needed, as for the README"
    address = f"{longtake.url}/v1/videos"
    key = ("-H", f"Authorization: Bearer {longtake.key}")
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    body = json.dumps({"prompt": "a cat", "model": "sora-2", "seconds": "4"})
    as_json = ("-H", "Content-Type: application/json", "-d", body)
    as_form = ("-F", "prompt=a cat", "-F", "seconds=8", "-F", f"input_reference=@{picture}")

    for fields in (as_json, as_form):
        video = json.loads(await ran(curl, "-s", "-X", "POST", address, *key, *fields))
        assert video["status"] == "queued", video

        async def is_completed(video: str = video["id"]) -> bool:
            shown = json.loads(await ran(curl, "-s", f"{address}/{video}", *key))
            assert shown["status"] in {"queued", "in_progress", "completed"}, shown
            return bool(shown["status"] == "completed")

        await until(is_completed, within=180)
        film = tmp_path / "film.mp4"
        await ran(curl, "-s", "-o", str(film), f"{address}/{video['id']}/content", *key)
        with av.open(io.BytesIO(film.read_bytes()), "r") as container:
            assert container.streams.video


async def test_longtake_behind_longtake_pays_once(
    database_url: str, inner_database_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    """Our own adapter, pointed at our own dialect, completes jobs, sees a failure and cancels."""
    async with serving(inner_database_url, tmp_path / "inner", simulator.env) as inner:
        gateway = {"OPENAI_BASE_URL": f"{inner.url}/v1", "OPENAI_API_KEY": inner.key}
        async with in_front(database_url, tmp_path / "outer", gateway) as http:

            async def submitted(prompt: str) -> str:
                body = {"model": "sora-2", "prompt": prompt, "duration_seconds": 8}
                return str((await http.post(NATIVE, json=body)).json()["id"])

            async def ended(job: str) -> dict[str, Any]:
                shown: dict[str, Any] = {}

                async def is_final() -> bool:
                    shown.update((await http.get(f"{NATIVE}/{job}")).json())
                    return shown["status"] in {"complete", "failed"}

                await until(is_final, within=180)
                return shown

            done = await ended(await submitted("a red kite"))
            assert done["status"] == "complete", done
            assert (await http.get(done["video_url"])).status_code == 200
            failed = await ended(await submitted("[sim:moderate] no"))
            assert failed["error"]["code"] == "content_policy"
            endless = await submitted("[sim:never] a cat")

            async def states() -> list[str]:
                rows = await inner.engine.database.fetch("SELECT state FROM job ORDER BY id")
                return [row["state"] for row in rows]

            async def is_there() -> bool:
                return (await states())[2:] == ["processing"]

            await until(is_there, within=180)
            await http.post(f"{NATIVE}/{endless}/cancel")

            async def is_cancelled() -> bool:
                return await states() == ["complete", "failed", "cancelled"]

            await until(is_cancelled, within=180)
    assert len(simulator.bill()) == 3
