"""The simulated gateway: a video over time, forms that can't be read, limits, faults."""

from typing import Any, Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer sk-openai-test"}
URL = "/openai/v1/videos"
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def submit(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    form = {name: (None, text) for name, text in ({"prompt": "a cat"} | fields).items()}
    return await client.post(URL, files=form, headers=HEADERS)


async def seen(client: httpx.AsyncClient, video: str) -> Any:
    return await client.get(f"{URL}/{video}", headers=HEADERS)


async def test_a_video_waits_makes_progress_and_is_there_with_the_key_only(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    created = await submit(client)
    video = created.json()["id"]
    assert created.headers["openai-poll-after-ms"] == "10000"
    assert (await client.get(f"{URL}/{video}/content", headers=HEADERS)).status_code == 404

    clock.advance(25)
    running = (await seen(client, video)).json()
    clock.advance(LONG_ENOUGH)
    done = await seen(client, video)

    assert (created.json()["status"], created.json()["progress"]) == ("queued", 0)
    assert running["status"] == "in_progress"
    assert 0 < running["progress"] < 100
    assert (done.json()["status"], done.json()["progress"]) == ("completed", 100)
    assert "openai-poll-after-ms" not in done.headers
    assert (await client.get(f"{URL}/{video}/content")).status_code == 401
    film = await client.get(f"{URL}/{video}/content", headers=HEADERS)
    assert film.headers["content-type"] == "video/mp4"


async def test_the_expired_scripts_content_is_gone_once(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    video = (await submit(client, prompt="[sim:expired] a cat")).json()["id"]
    clock.advance(LONG_ENOUGH)
    tries = [await client.get(f"{URL}/{video}/content", headers=HEADERS) for _ in range(2)]
    assert [one.status_code for one in tries] == [404, 200]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"prompt": " "}, "prompt"),
        ({"model": "sora-1"}, "model"),
        ({"seconds": "5"}, "seconds"),
        ({"size": "1792x1024"}, "size"),
        ({"input_reference": "https://pictures.example/a.png"}, "input_reference"),
        ({"seed": "7"}, "seed"),
        ({"prompt": "[sim:nonsense] a cat"}, "sim:nonsense"),
    ],
)
async def test_a_form_that_would_be_refused_is_400_with_the_field_named(
    client: httpx.AsyncClient, fields: dict[str, str], word: str
) -> None:
    answer = await submit(client, **fields)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"prompt": "a cat"}', "application/json"),
        (b"nothing of the kind", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
        (b"prompt=a+cat", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_body_that_is_no_form_is_400(
    client: httpx.AsyncClient, content: bytes, kind: str
) -> None:
    answer = await client.post(URL, content=content, headers=HEADERS | {"Content-Type": kind})
    assert answer.status_code == 400
    assert (await client.get("/_sim/bill")).json() == {"data": []}


async def test_videos_beyond_the_cap_are_refused_until_one_is_deleted(
    client: httpx.AsyncClient,
) -> None:
    first, _, third = [await submit(client) for _ in range(3)]
    assert third.status_code == 429
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    await client.delete(f"{URL}/{first.json()['id']}", headers=HEADERS)
    assert (await submit(client)).status_code == 200


async def test_a_fault_finds_the_prompt_of_a_form_and_leaves_it_readable(
    client: httpx.AsyncClient,
) -> None:
    fault = {"provider": "openai_videos", "on": "submit", "do": "drop_after_accept"}
    await client.post("/_sim/faults", json=[fault | {"match_prompt": "cät"}])

    assert (await submit(client)).status_code == 200
    with pytest.raises(httpx.TransportError):
        await submit(client, prompt="a cät")

    rows = (await client.get("/_sim/bill")).json()["data"]
    assert [row["body"]["prompt"] for row in rows] == ["a cat", "a cät"]
