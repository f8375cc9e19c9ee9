"""The examples of Kling's documents, sent as they stand there, finish jobs on the simulator."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.conformance.watching import Simulator, poll_until, watched

PICTURE = "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-tob-release_note/image_25.png"
GIRL = (
    "A girl sat on the train, looking out the window with a melancholic expression, her head "
    "swaying with the train."
)
#: kling.ai/document-api/api/video/3-0-omni/image-to-video, "Request Example".
IMAGE_TO_VIDEO = {
    "contents": [
        {"type": "prompt", "text": GIRL},
        {"type": "first_frame", "url": PICTURE},
    ],
    "settings": {"resolution": "4k", "duration": 10, "audio": "off", "multi_shot": False},
    "options": {
        "callback_url": "https://xxx/callback",
        "external_task_id": "",
        "watermark_info": {"enabled": False},
    },
}
#: kling.ai/document-api/apiReference/model/textToVideo and imageToVideo, "Create Task".
LEGACY = {
    "text2video": {
        "model_name": "kling-v2-6",
        "prompt": "A cute little rabbit wearing glasses, sitting at a table, reading a newspaper",
        "negative_prompt": "",
        "duration": "5",
        "mode": "pro",
        "sound": "on",
        "aspect_ratio": "1:1",
        "callback_url": "",
        "external_task_id": "",
    },
    "image2video": {
        "model_name": "kling-v2-6",
        "image": "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-qa-test/multi-2.png",
        "image_tail": "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-qa-test/multi-1.png",
        "prompt": "Camera zooms out, the girl smiles",
        "negative_prompt": "",
        "duration": "5",
        "mode": "pro",
        "sound": "off",
        "callback_url": "",
        "external_task_id": "",
    },
}


@pytest.fixture
def docs(simulator: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=simulator.env["KLING_BASE_URL"],
        headers={"Authorization": f"Bearer {simulator.env['KLING_API_KEY']}"},
        trust_env=False,
        timeout=10,
    ) as client:
        yield client


def data(answer: httpx.Response) -> Any:
    body = answer.raise_for_status().json()
    assert (body["code"], set(body)) == (0, {"code", "message", "request_id", "data"})
    return body["data"]


def settled(look: Callable[[], Any], word: str) -> Any:
    return poll_until(look, lambda seen: seen[word] not in ("submitted", "processing"))[-1]


def test_the_documented_image_to_video_example_makes_a_video(
    simulator: Simulator, docs: httpx.Client
) -> None:
    # When
    created = data(docs.post("/image-to-video/kling-3.0", json=IMAGE_TO_VIDEO))
    done = settled(lambda: data(docs.get(f"/tasks?task_ids={created['id']}"))[0], "status")

    # Then the answers have the documented members
    assert set(created) == {"id", "status", "create_time", "update_time", "external_id"}
    assert set(created) | {"message", "outputs", "billing"} == set(done)
    assert done["status"] == "succeeded"
    (video,) = done["outputs"]
    assert (video["type"], video["duration"]) == ("video", "10")
    # And it was paid for once
    assert [row["body"] for row in simulator.bill()] == [IMAGE_TO_VIDEO]


@pytest.mark.parametrize("kind", LEGACY)
def test_the_documented_older_examples_make_videos(docs: httpx.Client, kind: str) -> None:
    created = data(docs.post(f"/v1/videos/{kind}", json=LEGACY[kind]))
    done = settled(lambda: data(docs.get(f"/v1/videos/{kind}/{created['task_id']}")), "task_status")

    assert {"task_id", "task_info", "task_status", "created_at", "updated_at"} <= set(created)
    assert done["task_status"] == "succeed"
    (video,) = done["task_result"]["videos"]
    assert isinstance(video["duration"], str)
    assert watched(video["url"])[2:] == (5.0, 24)


def test_the_documented_query_by_ones_own_id_finds_the_video(docs: httpx.Client) -> None:
    changes = {"settings": {"duration": 3}, "options": {"external_task_id": "123"}}
    created = data(docs.post("/image-to-video/kling-3.0", json=IMAGE_TO_VIDEO | changes))

    found = settled(lambda: data(docs.get("/tasks?external_task_ids=123"))[0], "status")

    assert (found["id"], found["external_id"]) == (created["id"], "123")
    assert watched(found["outputs"][0]["url"]) == (1280, 720, 3.0, 24)


def test_the_documented_listing_has_the_finished_tasks(docs: httpx.Client) -> None:
    created = data(docs.post("/image-to-video/kling-3.0", json=IMAGE_TO_VIDEO))

    listed = data(docs.post("/tasks", json={"cursor": "", "limit": 500}))

    assert set(listed) == {"result", "count", "next_cursor", "has_more"}
    assert [task["id"] for task in listed["result"]] == [created["id"]]
