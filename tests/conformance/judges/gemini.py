"""Gemini Omni's judge: google-genai and its Interactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.genai import Client
from google.genai.types import HttpOptions

from tests.conformance.judging import DATA, PROMPT, Case, Judge, ask

KEY = "AIza-test-key"
MODEL = "gemini-omni-1.1-flash"
ID = "17f205036c244c16946b35dbbce2af2f"
CALLBACK = "https://backend.example.com/callbacks/gemini/m1"
JPEG = "data:image/jpeg;base64,TEFTVA=="

STARTED = {"id": ID, "status": "in_progress", "model": MODEL}
PICTURE = {"type": "image", "data": "aGVsbG8=", "mime_type": "image/png"}
ANOTHER = {"type": "image", "data": "TEFTVA==", "mime_type": "image/jpeg"}


@contextmanager
def sdk_at(url: str) -> Iterator[Client]:
    with Client(api_key=KEY, http_options=HttpOptions(base_url=url)) as client:
        yield client


def submission(
    name: str,
    *,
    task: str | None = None,
    pictures: tuple[dict[str, str], ...] = (),
    more: dict[str, Any] | None = None,
    **changes: object,
) -> Case:
    text = {"type": "text", "text": PROMPT}
    body: dict[str, Any] = {
        "model": MODEL,
        "background": True,
        "input": [*pictures, text] if pictures else PROMPT,
        "response_format": {
            "type": "video",
            "delivery": "uri",
            "aspect_ratio": "9:16",
            "resolution": "720p",
            "duration": "10s",
        },
        **(more or {}),
    }
    if task:
        body["generation_config"] = {"video_config": {"task": task}}
    asked = ask(**{"upstream": MODEL, "duration_seconds": 10, "aspect_ratio": "9:16"} | changes)
    return Case(
        name,
        sdk=lambda sdk: sdk.interactions.create(**body),
        ours=lambda provider: provider.submit(asked),
        answer=STARTED,
    )


GEMINI = Judge(
    credentials={"GEMINI_API_KEY": KEY},
    base_path="",
    client=sdk_at,
    cases=(
        submission("submit text"),
        submission(
            "submit text with a callback",
            more={"webhook_config": {"uris": [CALLBACK]}},
            callback_url=CALLBACK,
        ),
        submission("submit image", task="image_to_video", pictures=(PICTURE,), image=DATA),
        submission(
            "submit reference images",
            task="reference_to_video",
            pictures=(PICTURE, ANOTHER),
            reference_images=(DATA, JPEG),
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.interactions.get(ID),
            ours=lambda provider: provider.poll([ID]),
            answer=STARTED,
        ),
        Case(
            "cancel",
            sdk=lambda sdk: sdk.interactions.cancel(ID),
            ours=lambda provider: provider.cancel(ID),
            answer=STARTED | {"status": "cancelled"},
        ),
    ),
)
