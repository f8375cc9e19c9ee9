from typing import Any, Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer luma-test-key"}
BODY = {"model": "ray-2", "prompt": "a cat"}
URL = "/luma-dream-machine/v1/generations"
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def submit(client: httpx.AsyncClient, **changes: object) -> httpx.Response:
    return await client.post(f"{URL}/video", json=BODY | changes, headers=HEADERS)


async def poll(client: httpx.AsyncClient, generation: str) -> Any:
    return (await client.get(f"{URL}/{generation}", headers=HEADERS)).json()


async def test_a_generation_is_queued_then_dreams_then_completes(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    answer = await submit(client, duration="9s", resolution="540p")
    assert answer.status_code == 201
    queued = answer.json()
    assert (queued["state"], queued["assets"]) == ("queued", None)
    assert queued["request"] == {
        "generation_type": "video",
        **BODY,
        "duration": "9s",
        "resolution": "540p",
    }

    clock.advance(21)
    assert (await poll(client, queued["id"]))["state"] == "dreaming"

    clock.advance(LONG_ENOUGH)
    completed = await poll(client, queued["id"])
    assert completed["state"] == "completed"
    assert (await client.get(completed["assets"]["video"])).status_code == 200


@pytest.mark.parametrize(("script", "word"), [("fail", "failed."), ("moderate", "moderation")])
async def test_a_failed_generation_says_why_in_words(
    client: httpx.AsyncClient, clock: Clock, script: str, word: str
) -> None:
    generation = (await submit(client, prompt=f"[sim:{script}] a cat")).json()["id"]
    clock.advance(LONG_ENOUGH)

    failed = await poll(client, generation)

    assert failed["state"] == "failed"
    assert word in failed["failure_reason"]


async def test_the_listing_has_the_newest_first_in_pages_and_echoes_the_requests(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    ids = []
    for number in range(3):
        url = f"http://127.0.0.1:9/{number}"
        ids.append((await submit(client, callback_url=url)).json()["id"])
        clock.advance(LONG_ENOUGH)

    async def page(limit: int, offset: int) -> Any:
        query = f"limit={limit}&offset={offset}"
        return (await client.get(f"{URL}?{query}", headers=HEADERS)).json()

    first, second = await page(2, 0), await page(2, 2)
    assert [one["id"] for one in first["generations"]] == [ids[2], ids[1]]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [one["request"]["callback_url"] for one in second["generations"]] == [
        "http://127.0.0.1:9/0"
    ]
    assert (await page(2, 9))["generations"] == []
    wrong = await client.get(f"{URL}?limit=0", headers=HEADERS)
    assert (wrong.status_code, "limit" in wrong.json()["detail"]) == (400, True)


async def test_a_listing_that_shifts_hides_the_first_rows_of_its_next_page(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    ids: list[str] = []
    for _ in range(5):
        ids.insert(0, (await submit(client)).json()["id"])
        clock.advance(LONG_ENOUGH)
    provider = {"provider": "luma_dream_machine"}
    fault = {**provider, "on": "list", "do": "shift", "seconds": 60}
    assert (await client.post("/_sim/faults", json=[fault])).status_code == 200

    async def listed(offset: int) -> list[str]:
        query = f"limit=100&offset={offset}"
        page = (await client.get(f"{URL}?{query}", headers=HEADERS)).json()
        return [one["id"] for one in page["generations"]]

    first, second = await listed(0), await listed(100)
    assert len(first) == 100
    assert not {*first} & {*ids}
    assert second == ids[3:]
    assert (await listed(1))[-5:] == ids
    assert (await poll(client, ids[0]))["state"] == "completed"


async def test_a_deleted_generation_is_nowhere_and_frees_its_place(
    client: httpx.AsyncClient,
) -> None:
    ids = [(await submit(client)).json()["id"] for _ in range(2)]
    assert (await submit(client)).status_code == 429

    assert (await client.delete(f"{URL}/{ids[0]}", headers=HEADERS)).status_code == 204

    assert (await client.delete(f"{URL}/{ids[0]}", headers=HEADERS)).status_code == 404
    assert (await client.get(f"{URL}/{ids[0]}", headers=HEADERS)).status_code == 404
    listed = (await client.get(URL, headers=HEADERS)).json()["generations"]
    assert [one["id"] for one in listed] == [ids[1]]
    assert (await submit(client)).status_code == 201


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"prompt": " "}, "prompt"),
        ({"model": "ray-3"}, "model"),
        ({"duration": 5}, "duration"),
        ({"duration": "10s"}, "duration"),
        ({"resolution": ["720p"]}, "resolution"),
        ({"aspect_ratio": "2:1"}, "aspect_ratio"),
        ({"generation_type": "image"}, "generation_type"),
        ({"loop": "yes"}, "loop"),
        ({"seed": 7}, "seed"),
        ({"callback_url": 7}, "callback_url"),
        ({"keyframes": []}, "keyframes"),
        ({"keyframes": {"frame2": {}}}, "keyframes"),
        ({"keyframes": {"frame0": "https://x.example/a.png"}}, "keyframes.frame0"),
        ({"keyframes": {"frame0": {"type": "image", "url": "data:x"}}}, "keyframes.frame0"),
        ({"keyframes": {"frame1": {"type": "generation"}}}, "keyframes.frame1"),
    ],
)
async def test_a_body_the_vendor_would_refuse_is_400_with_the_member_named(
    client: httpx.AsyncClient, changes: dict[str, object], word: str
) -> None:
    answer = await submit(client, **changes)

    assert answer.status_code == 400
    assert word in answer.json()["detail"].partition(": ")[0]


async def test_without_a_key_there_is_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{URL}/video", json=BODY)).status_code == 401
    assert (await client.get(URL)).status_code == 401
