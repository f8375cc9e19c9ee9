"""What MiniMax's own programs send, sent as they do, finishes jobs on the simulator."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conformance.watching import Simulator, poll_until, watched

#: platform.minimax.io/docs/api-reference/video-generation-t2v and -fl2v, with prompts of ours.
TEXT: dict[str, Any] = {
    "model": "MiniMax-Hailuo-2.3",
    "prompt": "A potter lifts a bowl from the wheel [Static shot].",
    "duration": 6,
    "resolution": "1080P",
}
FRAMES: dict[str, Any] = {
    "model": "MiniMax-Hailuo-02",
    "prompt": "The bud opens.",
    "first_frame_image": "https://pictures.example/a.png",
    "last_frame_image": "data:image/png;base64,aGVsbG8=",
    "duration": 10,
    "resolution": "768P",
}
#: As github.com/MiniMax-AI/MiniMax-H3, scripts/readme, sends it.
H3: dict[str, Any] = {
    "model": "MiniMax-H3",
    "content": [{"type": "text", "text": "A fleet gathers and jumps away."}],
    "resolution": "2K",
    "duration": 4,
    "ratio": "16:9",
}
FIRST_FRAME = {
    "type": "image_url",
    "image_url": {"url": "https://pictures.example/a.png"},
    "role": "first_frame",
}


@pytest.fixture
def docs(simulator: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=simulator.env["MINIMAX_BASE_URL"],
        headers={"Authorization": f"Bearer {simulator.env['MINIMAX_API_KEY']}"},
        trust_env=False,
        timeout=10,
    ) as client:
        yield client


def fine(answer: httpx.Response) -> Any:
    body = answer.raise_for_status().json()
    assert body["base_resp"] == {"status_code": 0, "status_msg": "success"}
    return body


def made(docs: httpx.Client, body: dict[str, Any]) -> Any:
    """The file that a task of the older endpoints comes to, by all three questions."""
    task = fine(docs.post("/v1/video_generation", json=body))["task_id"]
    done = poll_until(
        lambda: fine(docs.get(f"/v1/query/video_generation?task_id={task}")),
        lambda seen: seen["status"] not in ("Preparing", "Queueing", "Processing"),
    )[-1]
    assert (done["status"], done["task_id"]) == ("Success", task)
    return fine(docs.get(f"/v1/files/retrieve?file_id={done['file_id']}"))["file"]


def v2_settled(docs: httpx.Client, task: str) -> Any:
    return poll_until(
        lambda: docs.get(f"/v2/query/video_generation/{task}").raise_for_status().json()["task"],
        lambda seen: seen["status"] not in ("queued", "running"),
    )[-1]


@pytest.mark.parametrize(
    ("body", "shape"), [(TEXT, (1920, 1080, 6.0, 24)), (FRAMES, (1366, 768, 10.0, 24))]
)
def test_a_hailuo_task_becomes_a_file_that_plays(
    simulator: Simulator,
    docs: httpx.Client,
    body: dict[str, Any],
    shape: tuple[int, int, float, int],
) -> None:
    file = made(docs, body)

    assert {"file_id", "bytes", "created_at", "filename", "purpose", "download_url"} == set(file)
    assert watched(file["download_url"]) == shape
    assert [row["body"] for row in simulator.bill()] == [body]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"duration": 10}, 2013),
        ({"resolution": "4K"}, 2013),
        ({"model": "MiniMax-Hailuo-9"}, 2013),
        ({"last_frame_image": "https://pictures.example/a.png"}, 2013),
        ({"callback_url": "https://nobody.example"}, 2013),
        ({"first_frame_image": "data:image/png;base64,é"}, 2013),
    ],
)
def test_a_refusal_is_an_answer_of_status_200_with_a_code(
    simulator: Simulator, docs: httpx.Client, changes: dict[str, Any], code: int
) -> None:
    answer = docs.post("/v1/video_generation", json=TEXT | changes)
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (200, code)
    assert simulator.bill() == []


def test_a_wrong_key_is_told_by_its_code(docs: httpx.Client) -> None:
    answer = docs.post("/v1/video_generation", json=TEXT, headers={"Authorization": "Basic x"})
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (200, 2049)


@pytest.mark.parametrize(("script", "code"), [("moderate", 1027), ("fail", 1000)])
def test_a_failed_hailuo_task_says_why_by_its_code(
    docs: httpx.Client, script: str, code: int
) -> None:
    body = TEXT | {"prompt": f"[sim:{script}] a cat"}
    task = fine(docs.post("/v1/video_generation", json=body))["task_id"]

    failed = poll_until(
        lambda: docs.get(f"/v1/query/video_generation?task_id={task}").json(),
        lambda seen: seen["status"] == "Fail",
    )[-1]

    assert (failed["base_resp"]["status_code"], failed["file_id"]) == (code, "")


def test_an_h3_task_has_its_link_at_once(simulator: Simulator, docs: httpx.Client) -> None:
    created = docs.post("/v2/video_generation", json=H3).raise_for_status().json()
    done = v2_settled(docs, created["task_id"])

    assert set(created) == {"task_id"}
    assert (done["status"], done["id"], done["ratio"]) == ("succeeded", created["task_id"], "16:9")
    assert watched(done["content"]["url"]) == (2560, 1440, 4.0, 24)
    assert len(simulator.bill()) == 1


def test_an_h3_task_is_cancelled_while_it_waits_and_deleted_when_it_is_done(
    docs: httpx.Client,
) -> None:
    # Given a task that waits for long, and one that is done
    slow = H3 | {"content": [{"type": "text", "text": "[sim:slow] a cat"}]}
    waiting = docs.post("/v2/video_generation", json=slow).json()["task_id"]
    done = docs.post("/v2/video_generation", json=H3).json()["task_id"]
    # When they are deleted
    cancelled = docs.delete(f"/v2/video_generation/{waiting}").raise_for_status().json()
    v2_settled(docs, done)
    deleted = docs.delete(f"/v2/video_generation/{done}").raise_for_status().json()
    # Then the one reads cancelled and the other is gone
    assert (cancelled["status"], deleted["status"]) == ("cancelled", "deleted")
    assert v2_settled(docs, waiting)["status"] == "cancelled"
    assert docs.get(f"/v2/query/video_generation/{done}").status_code == 404


def test_a_running_h3_task_can_not_be_cancelled(docs: httpx.Client) -> None:
    endless = H3 | {"content": [{"type": "text", "text": "[sim:never] a cat"}]}
    task = docs.post("/v2/video_generation", json=endless).json()["task_id"]
    poll_until(
        lambda: docs.get(f"/v2/query/video_generation/{task}").json()["task"]["status"],
        lambda seen: seen == "running",
    )
    assert docs.delete(f"/v2/video_generation/{task}").status_code == 409


@pytest.mark.parametrize(
    "changes",
    [
        {"resolution": "1080P"},
        {"duration": 3},
        {"ratio": "adaptive"},
        {"content": []},
        {"content": [*H3["content"], FIRST_FRAME, FIRST_FRAME]},
        {"content": [*H3["content"], FIRST_FRAME, FIRST_FRAME | {"role": "reference_image"}]},
        {"content": [*H3["content"], FIRST_FRAME | {"role": "middle_frame"}]},
    ],
)
def test_what_mmx_would_not_send_is_refused(
    simulator: Simulator, docs: httpx.Client, changes: dict[str, Any]
) -> None:
    answer = docs.post("/v2/video_generation", json=H3 | changes)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "bad_request_error"
    assert simulator.bill() == []
