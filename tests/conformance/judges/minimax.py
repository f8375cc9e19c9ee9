"""MiniMax's judge: there is no Python SDK, so what its own programs send is sent as they send it.

Source: github.com/MiniMax-AI/cli (mmx: src/commands/video, src/video/v2.ts, its fixtures) and, for
the newer endpoints, the curl lines of github.com/MiniMax-AI/MiniMax-H3, scripts/readme; for frames
and the watermark, platform.minimax.io/docs/api-reference/video-generation-fl2v.
"""

from contextlib import AbstractContextManager
from typing import Any

import httpx

from tests.conformance.judging import DATA, IMAGE, LAST, PROMPT, Case, Judge, ask

KEY = "minimax-test-key"
TASK, FILE = "106916112212032", "176844028768320"
FINE = {"status_code": 0, "status_msg": "success"}
PROCESSING = {"base_resp": FINE, "task_id": TASK, "status": "Processing"}
FINISHED = PROCESSING | {
    "status": "Success",
    "file_id": FILE,
    "file": {"file_id": FILE, "download_url": "https://cdn.example.com/v.mp4?a=%2F"},
}
V2_TASK = {"task": {"id": TASK, "model": "MiniMax-H3", "status": "queued"}}


def documented(url: str) -> AbstractContextManager[httpx.Client]:
    """A client as the vendor's curl lines are one."""
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=10
    )


def hailuo(name: str, body: dict[str, Any], **changes: object) -> Case:
    asked: dict[str, Any] = {
        "upstream": "MiniMax-Hailuo-2.3",
        "duration_seconds": 6,
        "resolution": "768p",
    }
    return Case(
        name,
        sdk=lambda docs: docs.post("/v1/video_generation", json=body),
        ours=lambda provider: provider.submit(ask(**asked | changes)),
        answer={"task_id": TASK, "base_resp": FINE},
    )


def picture(url: str, role: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, "role": role}


def h3(name: str, body: dict[str, Any], *pictures: dict[str, Any], **changes: object) -> Case:
    asked: dict[str, Any] = {"upstream": "MiniMax-H3", "duration_seconds": 10, "resolution": "2k"}
    whole = {
        "model": "MiniMax-H3",
        "content": [{"type": "text", "text": PROMPT}, *pictures],
        "resolution": "2K",
        "duration": 10,
        **body,
    }
    return Case(
        name,
        sdk=lambda docs: docs.post("/v2/video_generation", json=whole),
        ours=lambda provider: provider.submit(ask(**asked | changes)),
        answer={"task_id": TASK},
    )


MINIMAX = Judge(
    credentials={"MINIMAX_API_KEY": KEY},
    base_path="",
    client=documented,
    cases=(
        hailuo(
            "submit text",
            {
                "model": "MiniMax-Hailuo-2.3",
                "prompt": PROMPT,
                "duration": 6,
                "resolution": "768P",
                "callback_url": "https://longtake.example.com/callbacks/minimax/m1",
            },
            callback_url="https://longtake.example.com/callbacks/minimax/m1",
        ),
        hailuo(
            "submit image",
            {
                "model": "MiniMax-Hailuo-2.3-Fast",
                "prompt": PROMPT,
                "duration": 6,
                "resolution": "1080P",
                "first_frame_image": DATA,
                "aigc_watermark": False,
            },
            upstream="MiniMax-Hailuo-2.3-Fast",
            resolution="1080p",
            image=DATA,
            watermark=False,
        ),
        hailuo(
            "submit first and last image",
            {
                "model": "MiniMax-Hailuo-02",
                "prompt": PROMPT,
                "duration": 10,
                "resolution": "768P",
                "first_frame_image": IMAGE,
                "last_frame_image": LAST,
            },
            upstream="MiniMax-Hailuo-02",
            duration_seconds=10,
            image=IMAGE,
            last_image=LAST,
        ),
        Case(
            "poll",
            sdk=lambda docs: docs.get(f"/v1/query/video_generation?task_id={TASK}"),
            ours=lambda provider: provider.poll([TASK]),
            answer=PROCESSING,
        ),
        Case(
            "poll a task that has made its file",
            sdk=lambda docs: (
                docs.get(f"/v1/query/video_generation?task_id={TASK}"),
                docs.get(f"/v1/files/retrieve?file_id={FILE}"),
            ),
            ours=lambda provider: provider.poll([TASK]),
            answer=FINISHED,
        ),
    ),
)

MINIMAX_V2 = Judge(
    credentials={"MINIMAX_API_KEY": KEY},
    base_path="",
    client=documented,
    cases=(
        h3(
            "submit text",
            {
                "ratio": "16:9",
                "callback_url": "https://longtake.example.com/callbacks/minimax_v2/m1",
            },
            callback_url="https://longtake.example.com/callbacks/minimax_v2/m1",
        ),
        h3(
            "submit image",
            {"ratio": "adaptive", "duration": 8},
            picture(IMAGE, "first_frame"),
            duration_seconds=8,
            image=IMAGE,
        ),
        h3(
            "submit first and last image",
            {"ratio": "adaptive", "resolution": "768P", "aigc_watermark": True},
            picture(DATA, "first_frame"),
            picture(LAST, "last_frame"),
            resolution="768p",
            image=DATA,
            last_image=LAST,
            watermark=True,
        ),
        h3(
            "submit references",
            {"ratio": "9:16"},
            picture(IMAGE, "reference_image"),
            picture(LAST, "reference_image"),
            aspect_ratio="9:16",
            reference_images=(IMAGE, LAST),
        ),
        Case(
            "poll",
            sdk=lambda docs: docs.get(f"/v2/query/video_generation/{TASK}"),
            ours=lambda provider: provider.poll([TASK]),
            answer=V2_TASK,
        ),
        Case(
            "cancel",
            sdk=lambda docs: docs.delete(f"/v2/video_generation/{TASK}"),
            ours=lambda provider: provider.cancel(TASK),
            answer={"task_id": TASK, "action": "cancelled", "status": "cancelled"},
        ),
    ),
)
