"""MiniMax's simulated API: words over time, errors of either generation, limits, faults."""

from typing import Any, Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer minimax-test-key"}
HAILUO = {"model": "MiniMax-Hailuo-2.3", "prompt": "a cat"}
H3: dict[str, Any] = {
    "model": "MiniMax-H3",
    "content": [{"type": "text", "text": "a cat"}],
    "resolution": "768P",
    "duration": 4,
    "ratio": "16:9",
}
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def submit(client: httpx.AsyncClient, *, v2: bool = False, **changes: object) -> Any:
    path, body = ("/minimax/v2", H3) if v2 else ("/minimax/v1", HAILUO)
    answer = await client.post(f"{path}/video_generation", json=body | changes, headers=HEADERS)
    return answer.json()


async def asked(client: httpx.AsyncClient, path: str) -> httpx.Response:
    return await client.get(f"/minimax{path}", headers=HEADERS)


async def test_a_hailuo_task_waits_runs_and_has_a_file_only_when_it_is_done(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    task = (await submit(client))["task_id"]
    query, words = f"/v1/query/video_generation?task_id={task}", []
    for seconds in (0, 21, LONG_ENOUGH):
        clock.advance(seconds)
        seen = (await asked(client, query)).json()
        words.append((seen["status"], bool(seen["file_id"])))

    assert words == [("Queueing", False), ("Processing", False), ("Success", True)]
    file = (await asked(client, f"/v1/files/retrieve?file_id={seen['file_id']}")).json()["file"]
    film = await client.get(file["download_url"])
    assert (film.status_code, len(film.content)) == (200, file["bytes"])
    # And an hour later its link is dead, and a fresh one is not
    clock.advance(3601)
    assert (await client.get(file["download_url"])).status_code == 403
    again = (await asked(client, f"/v1/files/retrieve?file_id={seen['file_id']}")).json()["file"]
    assert (await client.get(again["download_url"])).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/query/video_generation?task_id=1", "/v1/files/retrieve?file_id=21"]
)
async def test_a_task_or_file_that_is_not_there_is_a_wrong_parameter(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await asked(client, path)
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (200, 2013)


async def test_tasks_beyond_the_cap_are_too_many_requests_in_either_shape(
    client: httpx.AsyncClient,
) -> None:
    for v2 in (False, True):
        for _ in range(2):
            assert (await submit(client, v2=v2))["task_id"]
    assert (await submit(client))["base_resp"] == {"status_code": 1002, "status_msg": "rate limit"}
    assert (await submit(client, v2=True))["error"] == {
        "type": "rate_limit_error",
        "message": "rate limit (1002)",
        "http_code": "429",
    }


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize(
    "changes", [{"model": ["MiniMax-H3"]}, {"resolution": {}}, {"duration": "x"}, {"seed": 7}]
)
async def test_odd_members_are_refused_and_never_a_crash(
    client: httpx.AsyncClient, changes: dict[str, object], *, v2: bool
) -> None:
    said = await submit(client, v2=v2, **changes)
    assert "2013" in str(said)


async def test_a_scripted_status_keeps_it_and_finds_its_prompt(client: httpx.AsyncClient) -> None:
    common = {"do": "status", "status": 503, "match_prompt": "cat"}
    task, h3 = (await submit(client))["task_id"], (await submit(client, v2=True))["task_id"]
    faults = [
        {"provider": "minimax", "on": "poll", **common},
        {"provider": "minimax_v2", "on": "submit", **common},
        {"provider": "minimax_v2", "on": "cancel", **common},
    ]
    await client.post("/_sim/faults", json=faults)

    struck = await asked(client, f"/v1/query/video_generation?task_id={task}")
    submission = await submit(client, v2=True)
    removal = await client.delete(f"/minimax/v2/video_generation/{h3}", headers=HEADERS)

    assert (struck.status_code, struck.json()["base_resp"]["status_code"]) == (503, 1000)
    assert submission["error"]["http_code"] == "503"
    assert removal.status_code == 503
    assert (await client.get("/_sim/faults")).json() == {"data": []}


async def test_a_frame_decides_the_shape_and_a_ratio_is_needed_without_one(
    client: httpx.AsyncClient,
) -> None:
    frame = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,aGVsbG8="},
        "role": "last_frame",
    }
    with_frame = await submit(client, v2=True, content=[*H3["content"], frame], ratio="adaptive")
    assert "task_id" in with_frame
    assert "ratio" in (await submit(client, v2=True, ratio="adaptive"))["error"]["message"]
