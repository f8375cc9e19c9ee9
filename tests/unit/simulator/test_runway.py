from typing import Protocol

import httpx
import pytest

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer key_test", "X-Runway-Version": "2024-11-06"}
TEXT = {"model": "gen4.5", "promptText": "a cat", "duration": 5, "ratio": "1280:720"}
IMAGE = {
    "model": "gen4_turbo",
    "promptImage": "https://pictures.example/a.png",
    "ratio": "1280:720",
}
LONG_ENOUGH = 100.0


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


async def submit(
    client: httpx.AsyncClient, body: dict[str, object], *, kind: str = "text_to_video"
) -> httpx.Response:
    return await client.post(f"/runway/v1/{kind}", json=body, headers=HEADERS)


async def start(client: httpx.AsyncClient, prompt: str = "a cat") -> str:
    answer = await submit(client, TEXT | {"promptText": prompt})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def poll(client: httpx.AsyncClient, task: str) -> dict[str, object]:
    answer = await client.get(f"/runway/v1/tasks/{task}", headers=HEADERS)
    assert answer.status_code == 200, answer.text
    shown: dict[str, object] = answer.json()
    return shown


async def delete(client: httpx.AsyncClient, task: str) -> int:
    return (await client.delete(f"/runway/v1/tasks/{task}", headers=HEADERS)).status_code


async def test_a_task_shows_progress_only_while_it_runs(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    task = await start(client)

    pending = await poll(client, task)
    assert pending["status"] == "PENDING"
    assert pending["estimatedCost"] == {"credits": 60}
    assert "progress" not in pending

    clock.advance(21)
    running = await poll(client, task)
    assert running["status"] == "RUNNING"
    assert isinstance(running["progress"], float)
    assert 0 < running["progress"] < 1
    assert running["estimatedCost"] == {"credits": 60}

    clock.advance(LONG_ENOUGH)
    done = await poll(client, task)
    assert set(done) == {"id", "createdAt", "status", "output", "cost"}
    assert done["status"] == "SUCCEEDED"
    assert done["cost"] == {"credits": 60}


async def test_tasks_beyond_the_models_limit_are_throttled(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    first, second, third = [await start(client, prompt) for prompt in ("a", "b", "c")]

    assert [(await poll(client, task))["status"] for task in (first, second)] == ["PENDING"] * 2
    assert (await poll(client, third))["status"] == "THROTTLED"

    clock.advance(2 * LONG_ENOUGH)
    assert (await poll(client, third))["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("script", "code"), [("fail", "INTERNAL.BAD_OUTPUT.CODE01"), ("moderate", "SAFETY.INPUT.TEXT")]
)
async def test_a_failed_task_says_why_and_costs_nothing(
    client: httpx.AsyncClient, clock: Clock, script: str, code: str
) -> None:
    task = await start(client, f"[sim:{script}] a cat")
    clock.advance(LONG_ENOUGH)

    failed = await poll(client, task)

    assert failed["status"] == "FAILED"
    assert failed["failureCode"] == code
    assert failed["failure"]
    assert failed["cost"] == {"credits": 0}


async def test_an_undocumented_status_word_is_said_for_a_while(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    task = await start(client, "[sim:unknown-status] a cat")

    clock.advance(20.5)
    assert (await poll(client, task))["status"] == "REHEARSING"
    clock.advance(LONG_ENOUGH)
    assert (await poll(client, task))["status"] == "SUCCEEDED"


@pytest.mark.parametrize(("waited", "charged"), [(0.0, 0), (21.0, 60)])
async def test_a_deleted_unfinished_task_is_cancelled_and_charged_if_it_had_begun(
    client: httpx.AsyncClient, clock: Clock, waited: float, charged: int
) -> None:
    task = await start(client)
    clock.advance(waited)

    assert await delete(client, task) == 204

    clock.advance(LONG_ENOUGH)
    cancelled = await poll(client, task)
    assert cancelled["status"] == "CANCELLED"
    assert cancelled["cost"] == {"credits": charged}


async def test_a_deleted_finished_task_is_gone_with_its_video(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    task = await start(client)
    clock.advance(LONG_ENOUGH)
    output = (await poll(client, task))["output"]
    assert isinstance(output, list)

    assert await delete(client, task) == 204

    assert await delete(client, task) == 404
    answer = await client.get(f"/runway/v1/tasks/{task}", headers=HEADERS)
    assert answer.status_code == 404
    assert answer.json() == {"error": "Task not found."}
    assert (await client.get(output[0])).status_code == 404


@pytest.mark.parametrize("authorization", [None, "", "key_test", "Bearer sk-test", "Bearer key_"])
async def test_a_key_that_is_missing_or_looks_wrong_is_401(
    client: httpx.AsyncClient, authorization: str | None
) -> None:
    headers = {"X-Runway-Version": "2024-11-06"}
    if authorization is not None:
        headers["Authorization"] = authorization

    answer = await client.post("/runway/v1/text_to_video", json=TEXT, headers=headers)

    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("version", [None, "2023-01-01"])
async def test_a_version_that_is_missing_or_unknown_is_400(
    client: httpx.AsyncClient, version: str | None
) -> None:
    headers = {"Authorization": "Bearer key_test"} | (
        {"X-Runway-Version": version} if version else {}
    )

    answer = await client.get("/runway/v1/tasks/x", headers=headers)

    assert answer.status_code == 400
    assert "X-Runway-Version" in answer.json()["error"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"model": "gen3a_turbo"}, ["model"]),
        ({"model": None}, ["model"]),
        ({"promptText": ""}, ["promptText"]),
        ({"promptText": "🐈" * 501}, ["promptText"]),
        ({"duration": 11}, ["duration"]),
        ({"duration": "5"}, ["duration"]),
        ({"duration": "auto"}, ["duration"]),
        ({"ratio": "16:9"}, ["ratio"]),
        ({"seed": -1}, ["seed"]),
        ({"seed": 1.5}, ["seed"]),
        ({"contentModeration": "low"}, ["contentModeration"]),
        ({"prompt_text": "a cat"}, []),
        ({"model": "veo3.1", "duration": 5}, ["duration"]),
        ({"model": "veo3.1", "duration": 4, "audio": "yes"}, ["audio"]),
    ],
)
async def test_a_body_the_vendor_would_refuse_is_400_with_the_path_of_the_issue(
    client: httpx.AsyncClient, changes: dict[str, object], path: list[str]
) -> None:
    answer = await submit(client, TEXT | changes)

    assert answer.status_code == 400
    assert answer.json()["error"] == "Validation of body failed"
    assert [issue["path"] for issue in answer.json()["issues"]] == [path]


@pytest.mark.parametrize("missing", ["promptText", "duration", "ratio"])
async def test_a_missing_required_member_is_named(client: httpx.AsyncClient, missing: str) -> None:
    body = {name: value for name, value in TEXT.items() if name != missing}

    (issue,) = (await submit(client, body)).json()["issues"]

    assert issue == {"code": "invalid_type", "message": "Required", "path": [missing]}


@pytest.mark.parametrize(
    "image",
    [
        "http://pictures.example/a.png",
        "https://127.0.0.1/a.png",
        "https://[::1]/a.png",
        "data:image/png;base64," + "A" * 5 * 1024 * 1024,
        [{"uri": "https://pictures.example/a.png", "position": "last"}],
        [{"uri": "https://pictures.example/a.png"}],
        ["https://pictures.example/a.png"],
        7,
    ],
)
async def test_a_picture_that_runway_would_not_fetch_is_refused(
    client: httpx.AsyncClient, image: object
) -> None:
    answer = await submit(client, IMAGE | {"promptImage": image}, kind="image_to_video")

    assert answer.status_code == 400
    assert answer.json()["issues"][0]["path"][0] == "promptImage"


@pytest.mark.parametrize(
    "image",
    [
        "https://pictures.example/a.png",
        "data:image/png;base64,AAAA",
        "runway://upload",
        [{"uri": "https://pictures.example/a.png", "position": "first"}],
    ],
)
async def test_pictures_that_runway_takes_are_taken(
    client: httpx.AsyncClient, image: object
) -> None:
    answer = await submit(client, IMAGE | {"promptImage": image}, kind="image_to_video")

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("kind", "body", "charged"),
    [
        ("text_to_video", TEXT, 60),
        ("text_to_video", TEXT | {"model": "veo3.1", "duration": 8}, 320),
        ("text_to_video", TEXT | {"model": "veo3.1", "duration": 8, "audio": False}, 160),
        ("image_to_video", IMAGE | {"duration": 10}, 50),
        ("video_to_video", {"model": "aleph2", "videoUri": "https://v.example/v.mp4"}, 140),
    ],
)
async def test_the_estimate_is_the_price_list_times_the_seconds(
    client: httpx.AsyncClient, kind: str, body: dict[str, object], charged: int
) -> None:
    answer = await submit(client, body, kind=kind)

    assert answer.status_code == 200, answer.text
    assert answer.json()["estimatedCost"] == {"credits": charged}


async def test_a_body_that_is_not_json_is_400(client: httpx.AsyncClient) -> None:
    for content in (b"{", b"[]", b"\xff"):
        answer = await client.post("/runway/v1/text_to_video", content=content, headers=HEADERS)
        assert answer.status_code == 400
        assert "JSON" in answer.json()["error"]
