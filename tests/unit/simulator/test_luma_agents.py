from typing import Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer luma-test-key"}
BODY = {"type": "video", "model": "ray-3.2", "prompt": "a cat"}
PICTURE = {"url": "https://pictures.example/a.png"}
URL = "/luma-agents/v1/generations"
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def submit(client: httpx.AsyncClient, **changes: object) -> httpx.Response:
    return await client.post(URL, json=BODY | changes, headers=HEADERS)


async def test_a_generation_is_queued_then_processed_then_completed(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    queued = (await submit(client)).json()
    assert queued["state"] == "queued"
    assert queued["output"] == []
    assert "progress" not in queued

    clock.advance(21)
    processing = (await client.get(f"{URL}/{queued['id']}", headers=HEADERS)).json()
    assert processing["state"] == "processing"

    clock.advance(LONG_ENOUGH)
    completed = (await client.get(f"{URL}/{queued['id']}", headers=HEADERS)).json()
    assert completed["state"] == "completed"
    assert [output["type"] for output in completed["output"]] == ["video"]


@pytest.mark.parametrize(
    ("script", "code"), [("fail", "generation_failed"), ("moderate", "content_moderated")]
)
async def test_a_failed_generation_says_why(
    client: httpx.AsyncClient, clock: Clock, script: str, code: str
) -> None:
    generation = (await submit(client, prompt=f"[sim:{script}] a cat")).json()["id"]
    clock.advance(LONG_ENOUGH)

    failed = (await client.get(f"{URL}/{generation}", headers=HEADERS)).json()

    assert failed["state"] == "failed"
    assert failed["failure_code"] == code
    assert failed["failure_reason"]


async def test_generations_beyond_the_cap_are_refused_until_one_ends(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    answers = [await submit(client) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert [a.headers.get("X-RateLimit-Remaining") for a in answers] == ["1", "0", None]
    assert answers[2].headers["Retry-After"] == "2"
    assert set(answers[2].json()) == {"detail"}

    clock.advance(LONG_ENOUGH)
    assert (await submit(client)).status_code == 201


async def test_every_answer_echoes_the_requests_id_and_names_the_version(
    client: httpx.AsyncClient,
) -> None:
    headers = HEADERS | {"X-Request-Id": "mine"}
    answers = [
        await client.post(URL, json=BODY, headers=headers),
        await client.post(URL, json={}, headers=headers),
        await client.get(f"{URL}/nothing", headers=headers),
        await client.get(f"{URL}/nothing", headers={"X-Request-Id": "mine"}),
    ]

    assert [answer.status_code for answer in answers] == [201, 422, 404, 401]
    assert {answer.headers["X-Request-Id"] for answer in answers} == {"mine"}
    assert {answer.headers["X-API-Version"] for answer in answers} == {"2026-04-01"}


async def test_a_generation_cannot_be_cancelled(client: httpx.AsyncClient) -> None:
    generation = (await submit(client)).json()["id"]

    answer = await client.delete(f"{URL}/{generation}", headers=HEADERS)

    assert answer.status_code == 404
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"prompt": " "}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"model": "ray-2"}, "model"),
        ({"type": "image"}, "type"),
        ({"aspect_ratio": "3:1"}, "aspect_ratio"),
        ({"aspect_ratio": ["16:9"]}, "aspect_ratio"),
        ({"seed": 7}, "seed"),
        ({"video": "5s"}, "video"),
        ({"video": {"duration": 5}}, "video.duration"),
        ({"video": {"duration": ["5s"]}}, "video.duration"),
        ({"video": {"resolution": "4k"}}, "video.resolution"),
        ({"video": {"fps": 24}}, "video.fps"),
        ({"video": {"loop": "yes"}}, "video.loop"),
        ({"video": {"loop": True, "duration": "10s"}}, "video.loop"),
        ({"video": {"exr_export": True}}, "video.exr_export"),
        ({"video": {"hdr": True, "resolution": "360p"}}, "video.resolution"),
        ({"video": {"start_frame": "https://pictures.example/a.png"}}, "video.start_frame"),
        ({"video": {"start_frame": {}}}, "video.start_frame"),
        ({"video": {"end_frame": {"data": "AAAA"}}}, "video.end_frame.media_type"),
        ({"video": {"keyframes": [PICTURE]}}, "video.keyframes"),
        ({"video": {"keyframes": [PICTURE], "keyframe_indexes": [1, 2]}}, "video.keyframes"),
        ({"video": {"keyframes": [PICTURE], "keyframe_indexes": [121]}}, "keyframe_indexes"),
        ({"video": {"keyframes": [PICTURE], "keyframe_indexes": [[]]}}, "keyframe_indexes"),
        ({"video": {"keyframes": [{}], "keyframe_indexes": [0]}}, "video.keyframes.0"),
        (
            {"video": {"keyframes": [PICTURE], "keyframe_indexes": [0], "start_frame": PICTURE}},
            "video.keyframes",
        ),
    ],
)
async def test_a_body_the_vendor_would_refuse_is_422_with_the_member_named(
    client: httpx.AsyncClient, changes: dict[str, object], word: str
) -> None:
    answer = await submit(client, **changes)

    assert answer.status_code == 422
    assert word in answer.json()["detail"].partition(": ")[0]


async def test_frames_and_keyframes_are_taken(client: httpx.AsyncClient) -> None:
    video = {"start_frame": PICTURE, "end_frame": PICTURE, "loop": False, "resolution": "720p"}
    keyed = {"duration": "10s", "keyframes": [PICTURE], "keyframe_indexes": [240]}

    assert (await submit(client, video=video)).status_code == 201
    assert (await submit(client, video=keyed)).status_code == 201
