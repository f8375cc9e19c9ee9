"""Layer's judge: the samples of docs.uselayer.ai, sent as @layer-ai/sdk 2.5.15 sends them.

That SDK is in no registry; its source posts the object it is given, unchanged, to /v3/video with a
content type and a bearer key. `metadata` is ours: the samples show that it takes any keys.
"""

from typing import Any

from tests.conformance.judging import DATA, IMAGE, LAST, PROMPT, Case, Judge, ask
from tests.conformance.replaying import replaying

GATE = "123e4567-e89b-12d3-a456-426614174000"
MADE = {"videos": [{"url": "https://cdn.example.com/v.mp4", "duration": 5}], "model": "runway-gen3"}


def sample(name: str, data: dict[str, Any], **changes: object) -> Case:
    body = {
        "gateId": GATE,
        "model": "runway-gen3",
        "metadata": {"marker": "m1"},
        "data": {"prompt": PROMPT, "size": "1280x720", "duration": 5, **data},
    }
    request = {
        "method": "POST",
        "path": "/v3/video",
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer sk-layer-test"},
        "body": body,
    }
    return Case(
        name,
        sdk=lambda client: client.send(request),
        ours=lambda provider: provider.submit(ask(upstream="runway-gen3", **changes)),
        answer=MADE,
    )


LAYER = Judge(
    credentials={"LAYER_API_KEY": "sk-layer-test", "LAYER_GATE_ID": GATE},
    base_path="",
    client=replaying,
    cases=(
        sample("submit text", {}),
        sample("submit image", {"image": {"url": IMAGE}}, image=IMAGE),
        sample(
            "submit with every parameter",
            {
                "size": "720x1280",
                "fps": 30,
                "seed": 42,
                "negativePrompt": "people, cars",
                "numberOfVideos": 3,
                "personGeneration": "allow_adult",
                "image": {"base64": DATA},
                "lastFrame": {"url": LAST},
                "referenceImages": [
                    {"url": IMAGE, "referenceType": "asset"},
                    {"base64": DATA, "referenceType": "subject"},
                    {"url": LAST, "referenceType": "style"},
                ],
            },
            width=720,
            height=1280,
            fps=30,
            seed=42,
            negative_prompt="people, cars",
            count=3,
            person_generation="allow_adult",
            image=DATA,
            last_image=LAST,
            reference_images=(
                IMAGE,
                {"image": DATA, "type": "subject"},
                {"image": LAST, "type": "style"},
            ),
        ),
    ),
)
