"""Veo's judge on the Gemini API: google-genai 2.34.0, the last that submits there.

It has a webhook_config as well, which we leave out.
"""

from typing import Any

from tests.conformance.driving import GOOGLE_GENAI_2, driving
from tests.conformance.judging import PROMPT, Case, Judge, ask

KEY = "AIza-test-key"
MODEL = "veo-3.1-generate-preview"
NAME = f"models/{MODEL}/operations/17f205036c244c16946b35dbbce2af2f"
OPERATION = {"class": "google.genai.types.GenerateVideosOperation", "name": NAME}

#: The bytes of the first have every character that base64's two alphabets differ in.
FIRST = "data:image/png;base64,+/+/UE5HREFUQQ=="
LAST = "data:image/jpeg;base64,TEFTVA=="


def image(uri: str) -> dict[str, str]:
    """A picture as the SDK is given it, which decodes the bytes and encodes them again."""
    head, _, data = uri.partition(",")
    return {"image_bytes": data, "mime_type": head[5:].partition(";")[0]}


def submission(
    name: str, source: dict[str, Any], config: dict[str, Any], **changes: object
) -> Case:
    """The SDK is told of the same length, shape and size as our adapter."""
    usual = {"number_of_videos": 1, "duration_seconds": 8, "aspect_ratio": "16:9"}
    wanted = {**usual, "resolution": "720p", **config}
    given = {"prompt": PROMPT, **source}
    asked = ask(**{"upstream": MODEL, "duration_seconds": 8} | changes)
    return Case(
        name,
        sdk=lambda sdk: sdk.call(
            "models.generate_videos", model=MODEL, source=given, config=wanted
        ),
        ours=lambda provider: provider.submit(asked),
        answer={"name": NAME},
    )


GEMINI_VEO = Judge(
    credentials={"GEMINI_API_KEY": KEY},
    base_path="",
    client=driving(GOOGLE_GENAI_2, KEY),
    cases=(
        submission("submit text", {}, {}),
        submission(
            "submit text with every option",
            {},
            {
                "duration_seconds": 4,
                "aspect_ratio": "9:16",
                "person_generation": "allow_adult",
                "negative_prompt": "ugly",
            },
            duration_seconds=4,
            aspect_ratio="9:16",
            person_generation="allow_adult",
            negative_prompt="ugly",
        ),
        submission(
            "submit image",
            {"image": image(FIRST)},
            {"last_frame": image(LAST), "resolution": "1080p"},
            image=FIRST,
            last_image=LAST,
            resolution="1080p",
        ),
        *(
            submission(
                f"submit reference images: {ours}",
                {},
                {
                    "reference_images": [
                        {"image": image(uri), "reference_type": theirs} for uri in (FIRST, LAST)
                    ]
                },
                reference_images=tuple({"image": uri, "type": ours} for uri in (FIRST, LAST)),
            )
            for ours, theirs in (("subject", "ASSET"), ("asset", "ASSET"))  # its SDK bars STYLE
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.call("operations.get", operation=OPERATION),
            ours=lambda provider: provider.poll([NAME]),
            answer={"name": NAME},
        ),
    ),
)
