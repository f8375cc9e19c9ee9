import io
import time
from datetime import timedelta
from typing import Protocol
from urllib.parse import quote, unquote

import av
import httpx
import pytest

from simulator.world import Options

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer luma-test-key"}
LIFETIME = timedelta(hours=1).total_seconds()


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def generate(client: httpx.AsyncClient, clock: Clock, prompt: str = "a cat") -> str:
    """The id of a generation that is completed."""
    body = {"type": "video", "prompt": prompt, "video": {"resolution": "360p"}}
    answer = await client.post("/luma-agents/v1/generations", json=body, headers=HEADERS)
    assert answer.status_code == 201, answer.text
    clock.advance(100)
    return str(answer.json()["id"])


async def link(client: httpx.AsyncClient, generation: str) -> str:
    answer = await client.get(f"/luma-agents/v1/generations/{generation}", headers=HEADERS)
    return str(answer.json()["output"][0]["url"])


async def test_a_link_plays_without_credentials(client: httpx.AsyncClient, clock: Clock) -> None:
    answer = await client.get(await link(client, await generate(client, clock)))

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "video/mp4"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with av.open(io.BytesIO(answer.content), "r") as container:
        assert container.streams.video[0].height == 360


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-50", slice(-50, None)),
    ],
)
async def test_a_range_is_a_part_of_the_whole(
    client: httpx.AsyncClient, clock: Clock, asked: str, expected: slice
) -> None:
    url = await link(client, await generate(client, clock))
    whole = (await client.get(url)).content

    part = await client.get(url, headers={"Range": asked})

    assert part.status_code == 206
    assert part.content == whole[expected]
    start, stop, _ = expected.indices(len(whole))
    assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


async def test_a_range_beyond_the_end_is_416(client: httpx.AsyncClient, clock: Clock) -> None:
    url = await link(client, await generate(client, clock))

    answer = await client.get(url, headers={"Range": "bytes=99999999-"})

    assert answer.status_code == 416
    assert answer.headers["Content-Range"].startswith("bytes */")


async def test_a_link_dies_and_a_poll_gives_a_fresh_one(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    generation = await generate(client, clock)
    url = await link(client, generation)

    clock.advance(LIFETIME - 1)
    assert (await client.get(url)).status_code == 200
    clock.advance(1)

    assert (await client.get(url)).status_code == 403
    assert (await client.get(await link(client, generation))).status_code == 200


async def test_a_link_that_was_altered_is_refused(client: httpx.AsyncClient, clock: Clock) -> None:
    url = await link(client, await generate(client, clock))
    path, _, signature = url.rpartition("&signature=")

    assert (await client.get(f"{path}0&signature={signature}")).status_code == 403
    assert (await client.get(path)).status_code == 403


async def test_a_link_that_was_decoded_and_encoded_anew_is_refused(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    """Clients that normalise a URL break signed links at CDNs; here they are found out."""
    path, _, signature = (await link(client, await generate(client, clock))).rpartition("=")
    rewritten = quote(unquote(signature), safe="/+=")
    assert rewritten != signature

    assert (await client.get(f"{path}={rewritten}")).status_code == 403


async def test_the_expired_scripts_first_link_is_dead_and_the_next_one_lives(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    # Given two links that were issued before anybody tried one
    generation = await generate(client, clock, "[sim:expired] a cat")
    first, second = await link(client, generation), await link(client, generation)

    # Then neither works, and a link from a later poll does
    assert (await client.get(first)).status_code == 403
    assert (await client.get(second)).status_code == 403
    clock.advance(1)
    assert (await client.get(await link(client, generation))).status_code == 200
    assert (await client.get(first)).status_code == 403


@pytest.mark.parametrize("options", [Options(speed=1.0, tiny=True, drip=2.0)])
async def test_a_drip_takes_its_time_and_a_part_its_share(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    url = await link(client, await generate(client, clock, "[sim:drip] a cat"))

    began = time.monotonic()
    whole = await client.get(url)
    halfway = time.monotonic()
    part = await client.get(url, headers={"Range": f"bytes={len(whole.content) * 3 // 4}-"})
    ended = time.monotonic()

    assert int(whole.headers["Content-Length"]) == len(whole.content)
    assert halfway - began > 1.4
    assert part.status_code == 206
    assert whole.content.endswith(part.content)
    assert ended - halfway < halfway - began


async def test_a_video_nobody_made_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.get("/luma-agents/download/nothing?issued=1&expires=2&signature=x")

    assert answer.status_code == 404
