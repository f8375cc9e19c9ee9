"""The Luma Agents API's judge: luma-agents."""

from typing import Any

from luma_agents import Luma

from tests.conformance.judging import DATA, IMAGE, LAST, PROMPT, Case, Judge, ask

LUMA_GENERATION = {
    "id": "g1",
    "created_at": "2026-11-21T00:00:00Z",
    "model": "ray-3.2",
    "state": "queued",
    "type": "video",
}


def luma_case(name: str, video: dict[str, Any], **changes: object) -> Case:
    return Case(
        name,
        sdk=lambda sdk: sdk.generations.create(
            model="ray-3.2", type="video", prompt=PROMPT, aspect_ratio="16:9", video=video
        ),
        ours=lambda provider: provider.submit(ask(upstream="ray-3.2", **changes)),
        answer=LUMA_GENERATION,
        status=201,
    )


LUMA_AGENTS = Judge(
    credentials={"LUMA_AGENTS_API_KEY": "luma-api-test"},
    base_path="/v1",
    client=lambda url: Luma(auth_token="luma-api-test", base_url=url, max_retries=0),
    cases=(
        luma_case("submit text", {"duration": "5s", "resolution": "720p"}),
        luma_case(
            "submit image",
            {"duration": "5s", "resolution": "1080p", "start_frame": {"url": IMAGE}},
            image=IMAGE,
            resolution="1080p",
        ),
        luma_case(
            "submit first and last image",
            {
                "duration": "5s",
                "resolution": "720p",
                "start_frame": {"data": "aGVsbG8=", "media_type": "image/png"},
                "end_frame": {"url": LAST},
            },
            image=DATA,
            last_image=LAST,
        ),
        luma_case(
            "submit a long video between images",
            {
                "duration": "10s",
                "resolution": "720p",
                "keyframes": [{"url": IMAGE}, {"url": LAST}],
                "keyframe_indexes": [0, 240],
            },
            image=IMAGE,
            last_image=LAST,
            duration_seconds=10,
        ),
        luma_case(
            "submit a long video towards an image",
            {
                "duration": "10s",
                "resolution": "720p",
                "keyframes": [{"url": LAST}],
                "keyframe_indexes": [240],
            },
            last_image=LAST,
            duration_seconds=10,
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.generations.get("8d2b7e5c-9a40-4c9e-8a53-1b8f4f9f0c11"),
            ours=lambda provider: provider.poll(["8d2b7e5c-9a40-4c9e-8a53-1b8f4f9f0c11"]),
            answer=LUMA_GENERATION,
        ),
        Case(
            "poll an odd id",
            sdk=lambda sdk: sdk.generations.get("a/../b?c d#é"),
            ours=lambda provider: provider.poll(["a/../b?c d#é"]),
            answer=LUMA_GENERATION,
        ),
    ),
)
