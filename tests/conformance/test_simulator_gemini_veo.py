"""google-genai 2.34.0 finishes whole jobs against the simulator's older Gemini API."""

from base64 import b64decode
from typing import Any

import pytest

from tests.conformance.driving import GOOGLE_GENAI_2, Driven
from tests.conformance.watching import Simulator, poll_until, seen

GENERATE, GET = "models.generate_videos", "operations.get"
CAT = {"model": "veo-3.1-fast-generate-preview", "source": {"prompt": "a cät"}}
PICTURE = {"image_bytes": "aGVsbG8=", "mime_type": "image/png"}


@pytest.fixture
def sdk(simulator: Simulator) -> Driven:
    base = simulator.env["GOOGLE_GEMINI_BASE_URL"]
    return Driven(GOOGLE_GENAI_2, base, simulator.env["GEMINI_API_KEY"])


def operation(name: str) -> dict[str, dict[str, str]]:
    """What the SDK polls: an object of its own."""
    return {"operation": {"class": "google.genai.types.GenerateVideosOperation", "name": name}}


def ended(sdk: Driven, *names: str) -> list[dict[str, Any]]:
    """The operations, as the SDK reads them when the last of them is done."""

    def look() -> list[dict[str, Any]]:
        return [one.value for one in sdk.outcomes(*((GET, operation(name)) for name in names))]

    return poll_until(look, lambda all_of_them: all(one["done"] for one in all_of_them))[-1]


def test_the_sdk_makes_a_video_and_downloads_it(simulator: Simulator, sdk: Driven) -> None:
    # When
    begun = sdk.call(
        GENERATE,
        model="veo-3.1-generate-preview",
        source={"prompt": "a cät", "image": PICTURE},
        config={
            "number_of_videos": 1,
            "duration_seconds": 4,
            "aspect_ratio": "9:16",
            "resolution": "720p",
            "last_frame": PICTURE,
            "negative_prompt": "dogs",
        },
    )
    (done,) = ended(sdk, begun["name"])
    # Then its video is a file of the API, which the SDK fetches through its redirect
    assert (begun["done"], done["error"]) == (None, None)
    (video,) = done["response"]["generated_videos"]
    name = video["video"]["uri"].rpartition("/v1beta/")[2].removesuffix(":download?alt=media")
    film = b64decode(sdk.call("files.download", file=name))
    assert seen(film) == (720, 1280, 4.0, 24)
    # And it is on the bill once, by the operation's whole name, with what was sent
    (row,) = simulator.bill()
    assert row["operation_id"] == begun["name"]
    sent = {"bytesBase64Encoded": "aGVsbG8=", "mimeType": "image/png"}
    assert row["body"] == {
        "instances": [{"prompt": "a cät", "image": sent, "lastFrame": sent}],
        "parameters": {
            "sampleCount": 1,
            "durationSeconds": 4,
            "aspectRatio": "9:16",
            "resolution": "720p",
            "negativePrompt": "dogs",
        },
    }


def test_the_sdk_reads_a_failure_and_what_the_safety_filters_held_back(sdk: Driven) -> None:
    # Given
    begun = sdk.outcomes(
        *(
            (GENERATE, CAT | {"source": {"prompt": f"[sim:{script}] a cat"}})
            for script in ("fail", "moderate")
        )
    )
    # When
    failed, filtered = ended(sdk, *(one.value["name"] for one in begun))
    # Then
    assert failed["response"] is None
    assert failed["error"] == {"code": 13, "message": "Internal error encountered."}
    assert filtered["error"] is None
    assert not filtered["response"]["generated_videos"]
    assert filtered["response"]["rai_media_filtered_count"] == 1
    (reason,) = filtered["response"]["rai_media_filtered_reasons"]
    assert "Support codes" in reason


def test_the_sdk_recognises_the_refusals(simulator: Simulator, sdk: Driven) -> None:
    # Given a vendor that has no room for one job, and breaks at the next
    fault: dict[str, object] = {"provider": "gemini_veo", "on": "submit", "do": "status"}
    simulator.faults([fault | {"status": 429}, fault | {"status": 503}])
    # When
    refused = sdk.outcomes(
        (GENERATE, CAT),
        (GENERATE, CAT),
        (GENERATE, CAT | {"config": {"duration_seconds": 5}}),
        (GENERATE, CAT | {"model": "veo-2"}),
        (GENERATE, CAT | {"config": {"seed": 7}}),
        (GET, operation("models/veo-3.1-generate-preview/operations/nothing")),
    )
    refused += Driven(GOOGLE_GENAI_2, sdk.base_url, "wrong!").outcomes((GENERATE, CAT))
    # Then it asks once, and has a class for each
    assert [(one.status, one.raised[0]) for one in refused] == [
        (429, "ClientError"),
        (503, "ServerError"),
        (400, "ClientError"),
        (404, "ClientError"),
        (None, "ValueError"),  # it refuses a seed itself
        (404, "ClientError"),
        (400, "ClientError"),
    ]
    assert "RESOURCE_EXHAUSTED" in refused[0].message
    assert "durationSeconds: must be one of 4, 6, 8" in refused[2].message
    assert "API_KEY_INVALID" in refused[-1].message
    assert simulator.bill() == []
