"""Veo's judge on Google Cloud: google-genai in its Agent Platform mode, with a static token."""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.genai import Client
from google.genai.types import (
    GenerateVideosConfig,
    GenerateVideosOperation,
    GenerateVideosSource,
    HttpOptions,
    Image,
    VideoGenerationReferenceImage,
    VideoGenerationReferenceType,
)
from google.oauth2.credentials import Credentials

from tests.conformance.judging import DATA, PROMPT, Case, Judge, ask

TOKEN = "ya29.test-token"
MODEL = "veo-3.1-generate-001"
NAME = (
    "projects/p-1/locations/europe-west4/publishers/google/models/"
    f"{MODEL}/operations/17f20503-6c24-4c16-946b-35dbbce2af2f"
)
OPERATION = GenerateVideosOperation.model_validate({"name": NAME})
JPEG = "data:image/jpeg;base64,TEFTVA=="


@contextmanager
def sdk_at(url: str) -> Iterator[Client]:
    options = HttpOptions(base_url=url)
    credentials = Credentials(token=TOKEN)  # type: ignore[no-untyped-call] # google-auth has no types
    with Client(
        enterprise=True,
        project="p-1",
        location="europe-west4",
        credentials=credentials,
        http_options=options,
    ) as client:
        yield client


def image(uri: str) -> Image:
    head, _, data = uri.partition(",")
    return Image(image_bytes=b64decode(data), mime_type=head[5:].partition(";")[0])


def submission(
    name: str,
    config: dict[str, Any],
    *,
    first: str | None = None,
    **changes: object,
) -> Case:
    """The SDK is told of the same length, shape and size as our adapter."""
    usual = {"duration_seconds": 8, "aspect_ratio": "16:9", "resolution": "720p"}
    source = GenerateVideosSource(prompt=PROMPT, image=image(first) if first else None)
    wanted = GenerateVideosConfig(**({"number_of_videos": 1} | usual | config))
    asked = ask(**{"upstream": MODEL, "image": first, "duration_seconds": 8} | changes)
    return Case(
        name,
        sdk=lambda sdk: sdk.models.generate_videos(model=MODEL, source=source, config=wanted),
        ours=lambda provider: provider.submit(asked),
        answer={"name": NAME},
    )


VEO = Judge(
    credentials={
        "GOOGLE_ACCESS_TOKEN": TOKEN,
        "GOOGLE_CLOUD_PROJECT": "p-1",
        "GOOGLE_CLOUD_LOCATION": "europe-west4",
    },
    base_path="",
    client=sdk_at,
    cases=(
        submission("submit text", {}),
        submission(
            "submit text with every option",
            {
                "number_of_videos": 4,
                "duration_seconds": 4,
                "aspect_ratio": "9:16",
                "resolution": "4k",
                "seed": 2**32 - 1,
                "negative_prompt": "blur",
                "person_generation": "allow_adult",
                "generate_audio": False,
                "fps": 24,
            },
            count=4,
            duration_seconds=4,
            aspect_ratio="9:16",
            resolution="4k",
            seed=2**32 - 1,
            negative_prompt="blur",
            person_generation="allow_adult",
            audio=False,
            fps=24,
        ),
        submission("submit image", {"generate_audio": True}, first=DATA, audio=True),
        submission(
            "submit first and last image",
            {"last_frame": image(JPEG)},
            first=DATA,
            last_image=JPEG,
        ),
        *(
            submission(
                f"submit reference images: {ours}",
                {
                    "reference_images": [
                        VideoGenerationReferenceImage(image=image(uri), reference_type=theirs)
                        for uri in (DATA, JPEG)
                    ]
                },
                reference_images=tuple({"image": uri, "type": ours} for uri in (DATA, JPEG)),
            )
            for ours, theirs in (
                ("subject", VideoGenerationReferenceType.ASSET),
                ("asset", VideoGenerationReferenceType.ASSET),
                ("style", VideoGenerationReferenceType.STYLE),
            )
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.operations.get(OPERATION),
            ours=lambda provider: provider.poll([NAME]),
            answer={"name": NAME},
        ),
    ),
)
