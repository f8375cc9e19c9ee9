"""Kling's judge: there is no SDK, so the examples in its documents are sent as they stand there.

Source: kling.ai/document-api, the examples of api/video/3-0-omni (text to video, image to video,
query by task id) and apiReference/model (textToVideo, imageToVideo). Left out are empty members,
and those that we leave to the vendor: `multi_shot` and `watermark_info`.
"""

from contextlib import AbstractContextManager
from typing import Any

import httpx

from tests.conformance.judging import DATA, PROMPT, Case, Judge, ask

KEY = "kling-test-key"
ID = "893605946402811985"
CALLBACK = "https://xxx/callback"
PICTURE = "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-tob-release_note/image_25.png"
GIRL = (
    "A girl sat on the train, looking out the window with a melancholic expression, her head "
    "swaying with the train."
)
RABBIT = (
    "A cute little rabbit wearing glasses, sitting at a table, reading a newspaper, with a cup of "
    "cappuccino on the table"
)

ACCEPTED = {
    "code": 0,
    "message": "string",
    "request_id": "string",
    "data": {
        "id": ID,
        "status": "submitted",
        "create_time": 1781080778802,
        "update_time": 1781080794151,
        "external_id": "m1",
    },
}
LISTED = ACCEPTED | {"data": [ACCEPTED["data"]]}
LEGACY_TASK = {
    "code": 0,
    "message": "string",
    "request_id": "string",
    "data": {
        "task_id": ID,
        "task_info": {"external_task_id": "m1"},
        "task_status": "submitted",
        "created_at": 1722769557708,
        "updated_at": 1722769557708,
    },
}


def documented(url: str) -> AbstractContextManager[httpx.Client]:
    """A client as the documents' curl lines are one."""
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=10
    )


def submission(name: str, path: str, body: dict[str, Any], **changes: object) -> Case:
    accepted = LEGACY_TASK if path.startswith("/v1/") else ACCEPTED
    return Case(
        name,
        sdk=lambda docs: docs.post(path, json=body),
        ours=lambda provider: provider.submit(ask(**changes)),
        answer=accepted,
    )


KLING = Judge(
    credentials={"KLING_API_KEY": KEY},
    base_path="",
    client=documented,
    cases=(
        submission(
            "submit text",
            "/text-to-video/kling-3.0-turbo",
            {
                "prompt": PROMPT,
                "settings": {"resolution": "1080p", "aspect_ratio": "9:16", "duration": 15},
                "options": {"external_task_id": "m1"},
            },
            upstream="kling-3.0-turbo",
            resolution="1080p",
            aspect_ratio="9:16",
            duration_seconds=15,
        ),
        submission(
            "submit text with sound",
            "/text-to-video/kling-3.0",
            {
                "prompt": PROMPT,
                "settings": {
                    "resolution": "720p",
                    "aspect_ratio": "16:9",
                    "duration": 5,
                    "audio": "native",
                },
                "options": {"external_task_id": "m1", "callback_url": CALLBACK},
            },
            upstream="kling-3.0",
            audio=True,
            callback_url=CALLBACK,
        ),
        submission(
            "submit image",
            "/image-to-video/kling-3.0",
            {
                "contents": [
                    {"type": "prompt", "text": GIRL},
                    {"type": "first_frame", "url": PICTURE},
                ],
                "settings": {"resolution": "4k", "duration": 10, "audio": "off"},
                "options": {"callback_url": CALLBACK, "external_task_id": "m1"},
            },
            upstream="kling-3.0",
            prompt=GIRL,
            image=PICTURE,
            resolution="4k",
            duration_seconds=10,
            audio=False,
            callback_url=CALLBACK,
        ),
        submission(
            "submit first and last image, the one as base64",
            "/image-to-video/kling-3.0",
            {
                "contents": [
                    {"type": "prompt", "text": GIRL},
                    {"type": "first_frame", "url": "aGVsbG8="},
                    {"type": "last_frame", "url": PICTURE},
                ],
                "settings": {"resolution": "1080p", "duration": 10, "audio": "native"},
                "options": {"external_task_id": "m1"},
            },
            upstream="kling-3.0",
            prompt=GIRL,
            image=DATA,
            last_image=PICTURE,
            resolution="1080p",
            duration_seconds=10,
            audio=True,
        ),
        Case(
            "poll",
            sdk=lambda docs: docs.get(f"/tasks?task_ids={ID}"),
            ours=lambda provider: provider.poll([ID]),
            answer=LISTED,
        ),
        Case(
            "poll many",
            sdk=lambda docs: docs.get(f"/tasks?task_ids={ID},893605946402811986"),
            ours=lambda provider: provider.poll([ID, "893605946402811986"]),
            answer=LISTED,
        ),
        Case(
            "look up",
            sdk=lambda docs: docs.get("/tasks?external_task_ids=m1"),
            ours=lambda provider: provider.look_up(ask()),
            answer=LISTED,
        ),
    ),
)

KLING_LEGACY = Judge(
    credentials={"KLING_API_KEY": KEY},
    base_path="",
    client=documented,
    cases=(
        submission(
            "submit text",
            "/v1/videos/text2video",
            {
                "model_name": "kling-v2-6",
                "prompt": RABBIT,
                "negative_prompt": "blur",
                "duration": "5",
                "mode": "pro",
                "sound": "on",
                "aspect_ratio": "1:1",
                "callback_url": CALLBACK,
                "external_task_id": "m1",
            },
            upstream="kling-v2-6",
            prompt=RABBIT,
            negative_prompt="blur",
            resolution="1080p",
            audio=True,
            aspect_ratio="1:1",
            callback_url=CALLBACK,
        ),
        submission(
            "submit text to an early model",
            "/v1/videos/text2video",
            {
                "model_name": "kling-v1-6",
                "prompt": PROMPT,
                "cfg_scale": 0.5,
                "duration": "10",
                "mode": "std",
                "aspect_ratio": "16:9",
                "external_task_id": "m1",
            },
            upstream="kling-v1-6",
            cfg_scale=0.5,
            duration_seconds=10,
        ),
        submission(
            "submit image",
            "/v1/videos/image2video",
            {
                "model_name": "kling-v2-6",
                "image": PICTURE,
                "image_tail": "aGVsbG8=",
                "prompt": "Camera zooms out, the girl smiles",
                "duration": "5",
                "mode": "pro",
                "sound": "off",
                "external_task_id": "m1",
            },
            upstream="kling-v2-6",
            prompt="Camera zooms out, the girl smiles",
            image=PICTURE,
            last_image=DATA,
            resolution="1080p",
            audio=False,
        ),
        Case(
            "poll",
            sdk=lambda docs: docs.get(f"/v1/videos/text2video/{ID}"),
            ours=lambda provider: provider.poll([f"text2video/{ID}"]),
            answer=LEGACY_TASK,
        ),
        Case(
            "look up",
            sdk=lambda docs: docs.get("/v1/videos/text2video/m1"),
            ours=lambda provider: provider.look_up(ask()),
            answer=LEGACY_TASK,
        ),
        Case(
            "look up an image's task",
            sdk=lambda docs: docs.get("/v1/videos/image2video/m1"),
            ours=lambda provider: provider.look_up(ask(image=PICTURE)),
            answer=LEGACY_TASK,
        ),
    ),
)
