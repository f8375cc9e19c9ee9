"""The Dream Machine API's judge: lumaai."""

from typing import Any

from lumaai import LumaAI

from tests.conformance.judging import IMAGE, LAST, PROMPT, Case, Judge, ask

ID = "8d2b7e5c-9a40-4c9e-8a53-1b8f4f9f0c11"
CALLBACK = "https://longtake.example.com/callbacks/luma_dream_machine/m1?x=1&y=é"
GENERATION = {
    "id": ID,
    "generation_type": "video",
    "state": "queued",
    "created_at": "2026-11-21T00:00:00Z",
    "model": "ray-2",
    "request": {"model": "ray-2", "prompt": PROMPT, "callback_url": CALLBACK},
}


def submission(name: str, sdk: dict[str, Any], **changes: object) -> Case:
    return Case(
        name,
        sdk=lambda client: client.generations.video.create(
            model="ray-2",
            prompt=PROMPT,
            aspect_ratio="16:9",
            duration="5s",
            **({"resolution": "720p"} | sdk),
        ),
        ours=lambda provider: provider.submit(ask(upstream="ray-2", **changes)),
        answer=GENERATION,
        status=201,
    )


LUMA_DREAM_MACHINE = Judge(
    credentials={"LUMAAI_API_KEY": "luma-test"},
    base_path="/dream-machine/v1",
    client=lambda url: LumaAI(auth_token="luma-test", base_url=url, max_retries=0),
    cases=(
        submission("submit text", {}),
        submission(
            "submit text with a callback", {"callback_url": CALLBACK}, callback_url=CALLBACK
        ),
        submission(
            "submit image",
            {"keyframes": {"frame0": {"type": "image", "url": IMAGE}}},
            image=IMAGE,
        ),
        submission(
            "submit first and last image",
            {
                "resolution": "4k",
                "keyframes": {
                    "frame0": {"type": "image", "url": IMAGE},
                    "frame1": {"type": "image", "url": LAST},
                },
            },
            image=IMAGE,
            last_image=LAST,
            resolution="4k",
        ),
        submission(
            "submit towards an image",
            {"keyframes": {"frame1": {"type": "image", "url": LAST}}},
            last_image=LAST,
        ),
        Case(
            "submit by the older method of the SDK",
            sdk=lambda client: client.generations.create(
                model="ray-flash-2",
                prompt=PROMPT,
                aspect_ratio="9:21",
                duration="9s",
                resolution="540p",
            ),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="ray-flash-2",
                    aspect_ratio="9:21",
                    duration_seconds=9,
                    resolution="540p",
                )
            ),
            answer=GENERATION,
            status=201,
        ),
        Case(
            "poll",
            sdk=lambda client: client.generations.get(ID),
            ours=lambda provider: provider.poll([ID]),
            answer=GENERATION,
        ),
        Case(
            "poll an odd id",
            sdk=lambda client: client.generations.get("a/../b?c d#é"),
            ours=lambda provider: provider.poll(["a/../b?c d#é"]),
            answer=GENERATION,
        ),
        Case(
            "cancel",
            sdk=lambda client: client.generations.delete(ID),
            ours=lambda provider: provider.cancel(ID),
            status=204,
        ),
        Case(
            "survey",
            sdk=lambda client: client.generations.list(limit=100, offset=0),
            ours=lambda provider: provider.survey([ID]),
            answer={"generations": [GENERATION], "has_more": True},
        ),
        Case(
            "look up",
            sdk=lambda client: client.generations.list(limit=100, offset=0),
            ours=lambda provider: provider.look_up(ask(upstream="ray-2", callback_url=CALLBACK)),
            answer={"generations": [GENERATION], "has_more": False},
        ),
    ),
)
