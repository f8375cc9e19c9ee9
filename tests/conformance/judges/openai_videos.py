"""The OpenAI Videos API's judge: openai, whose methods are marked as deprecated."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from openai import OpenAI

from tests.conformance.judging import DATA, PROMPT, Case, Judge, ask

ID = "video_68d7512d07848190b3e45da0ecbebcde004da08e1e0678d5"
#: As many as make a page worth reading.
MANY = [f"video_{number}" for number in range(9)]
VIDEO = {
    "id": ID,
    "object": "video",
    "model": "sora-2",
    "status": "queued",
    "progress": 0,
    "created_at": 1760000000,
    "seconds": "4",
    "size": "1280x720",
}


def page_of(videos: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    ends = {"first_id": videos[0]["id"], "last_id": videos[-1]["id"]}
    return {"object": "list", "data": videos, "has_more": has_more} | ends


@contextmanager
def gateway(url: str) -> Iterator[Any]:
    with (
        warnings.catch_warnings(action="ignore", category=DeprecationWarning),
        OpenAI(api_key="sk-test", base_url=url, max_retries=0, timeout=10) as client,
    ):
        yield client.videos


def submission(name: str, sdk: dict[str, Any], **changes: object) -> Case:
    asked: dict[str, Any] = {"upstream": "sora-2", "duration_seconds": 4}
    given = {"prompt": PROMPT, "model": "sora-2", "seconds": "4", "size": "1280x720"}
    return Case(
        name,
        sdk=lambda videos: videos.create(**given | sdk),
        ours=lambda provider: provider.submit(ask(**asked | changes)),
        answer=VIDEO,
    )


def on_one(name: str, sdk: Callable[[Any], object], ours: str, video: str = ID) -> Case:
    return Case(
        name,
        sdk=sdk,
        ours=lambda provider: (
            provider.cancel(video) if ours == "cancel" else provider.poll([video])
        ),
        answer=VIDEO,
    )


OPENAI_VIDEOS = Judge(
    credentials={"OPENAI_API_KEY": "sk-test"},
    base_path="/v1",
    client=gateway,
    cases=(
        submission("submit text", {}),
        submission(
            "submit text to the larger model",
            {"model": "sora-2-pro", "seconds": "12", "size": "1024x1792"},
            upstream="sora-2-pro",
            duration_seconds=12,
            width=1024,
            height=1792,
        ),
        submission(
            "submit image",
            {"input_reference": ("image.png", b"hello", "image/png")},
            image=DATA,
        ),
        on_one("poll", lambda videos: videos.retrieve(ID), "poll"),
        on_one(
            "poll an odd id",
            lambda videos: videos.retrieve("a/../b?c d#é"),
            "poll",
            video="a/../b?c d#é",
        ),
        Case(
            "survey",
            sdk=lambda videos: videos.list(limit=100, order="desc"),
            ours=lambda provider: provider.survey([ID]),
            answer=page_of([VIDEO], has_more=False),
        ),
        Case(
            "survey two pages",
            sdk=lambda videos: videos.list(limit=100, order="desc").get_next_page(),
            ours=lambda provider: provider.survey([*MANY, *(f"{each}2" for each in MANY)]),
            answer=page_of([VIDEO | {"id": each} for each in MANY], has_more=True),
        ),
        on_one("cancel", lambda videos: videos.delete(ID), "cancel"),
    ),
)
