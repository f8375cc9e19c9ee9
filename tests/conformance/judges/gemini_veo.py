"""Veo's judge on the Gemini API: google-genai 3.4.0 polls, but submits no more.

What is submitted is therefore what google-genai 2.34.0 was seen to send, without the webhookConfig
that we leave out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from google.genai import Client
from google.genai.types import GenerateVideosOperation, HttpOptions

from tests.conformance.judging import Case, Judge, ask

KEY = "AIza-test-key"
MODEL = "veo-3.1-generate-preview"
NAME = f"models/{MODEL}/operations/17f205036c244c16946b35dbbce2af2f"
OPERATION = GenerateVideosOperation.model_validate({"name": NAME})


@dataclass(frozen=True)
class Judges:
    """The SDK, and a client that sends what an earlier one sent."""

    sdk: Client
    seen: httpx.Client


@contextmanager
def judges_at(url: str) -> Iterator[Judges]:
    options = HttpOptions(base_url=url, api_version="v1beta")
    with (
        Client(api_key=KEY, http_options=options) as sdk,
        httpx.Client(
            base_url=url, headers={"x-goog-api-key": KEY}, trust_env=False, timeout=10
        ) as seen,
    ):
        yield Judges(sdk, seen)


def submission(name: str, body: dict[str, Any], **changes: object) -> Case:
    asked = ask(**{"upstream": MODEL, "prompt": "a cat", "duration_seconds": 8} | changes)
    return Case(
        name,
        sdk=lambda judges: judges.seen.post(
            f"/v1beta/models/{MODEL}:predictLongRunning", json=body
        ),
        ours=lambda provider: provider.submit(asked),
        answer={"name": NAME},
    )


def png(data: str) -> dict[str, str]:
    return {"bytesBase64Encoded": data, "mimeType": "image/png"}


GEMINI_VEO = Judge(
    credentials={"GEMINI_API_KEY": KEY},
    base_path="",
    client=judges_at,
    cases=(
        submission(
            "submit text",
            {
                "instances": [{"prompt": "a cat"}],
                "parameters": {
                    "sampleCount": 1,
                    "durationSeconds": 8,
                    "aspectRatio": "16:9",
                    "resolution": "720p",
                },
            },
        ),
        submission(
            "submit image",
            {
                "instances": [
                    {
                        "prompt": "a cat",
                        "image": png("UE5HREFUQQ=="),
                        "lastFrame": png("TEFTVA=="),
                        "referenceImages": [{"image": png("UkVG"), "referenceType": "ASSET"}],
                    }
                ],
                "parameters": {
                    "sampleCount": 1,
                    "durationSeconds": 8,
                    "aspectRatio": "16:9",
                    "resolution": "1080p",
                    "personGeneration": "allow_adult",
                    "negativePrompt": "ugly",
                },
            },
            image="data:image/png;base64,UE5HREFUQQ==",
            last_image="data:image/png;base64,TEFTVA==",
            reference_images=("data:image/png;base64,UkVG",),
            resolution="1080p",
            person_generation="allow_adult",
            negative_prompt="ugly",
        ),
        Case(
            "poll",
            sdk=lambda judges: judges.sdk.operations.get(OPERATION),
            ours=lambda provider: provider.poll([NAME]),
            answer={"name": NAME},
        ),
    ),
)
