"""AI/ML API's Python client finishes whole jobs against the simulated gateway."""

from base64 import b64decode

import pytest

from tests.conformance.driving import AIMLAPI_SDK, Driven
from tests.conformance.judging import IMAGE
from tests.conformance.watching import SOON, Simulator, seen, watched

GENERATE = "videos.generate_with_polling"
VEO = {
    "model": "google/veo-3.1-t2v",
    "prompt": "a cät",
    "poll_interval": 0.05,
    "poll_timeout": SOON,
}


@pytest.fixture
def sdk(simulator: Simulator) -> Driven:
    # It drops the path, and is answered at the root of the host
    return Driven(AIMLAPI_SDK, f"{simulator.url}/v1", simulator.env["AIMLAPI_API_KEY"])


def test_the_client_makes_videos_from_text_and_from_a_picture(
    simulator: Simulator, sdk: Driven
) -> None:
    # When
    shape = {"aspect_ratio": "9:16", "duration": 6, "extra_body": {"resolution": "720p"}}
    picture = {
        "model": "klingai/video-v3-standard-image-to-video",
        "duration": 10,
        "extra_body": {"image_url": IMAGE},
    }
    text, image, film = sdk.outcomes(
        (GENERATE, VEO | shape),
        (GENERATE, VEO | picture),
        (GENERATE, VEO | {"return_bytes": True}),
    )
    # Then it waited for each, and found each video where it looks
    assert watched(text.value["video"]["url"]) == (720, 1280, 6.0, 24)
    assert watched(image.value["video"]["url"])[2:] == (10.0, 24)
    assert seen(b64decode(film.value))[2:] == (8.0, 24)
    # And each is on the bill once, with what was sent
    by_text, by_picture, _ = simulator.bill()
    assert by_text["operation_id"] == text.value["id"]
    assert by_text["body"] == {
        "model": "google/veo-3.1-t2v",
        "prompt": "a cät",
        "aspect_ratio": "9:16",
        "duration": 6,
        "resolution": "720p",
    }
    assert by_picture["body"] == {
        "model": "klingai/video-v3-standard-image-to-video",
        "prompt": "a cät",
        "duration": 10,
        "image_url": IMAGE,
    }


def test_the_client_hands_over_failures_and_recognises_refusals(
    simulator: Simulator, sdk: Driven
) -> None:
    # Given a vendor that refuses three jobs, and loses one
    fault: dict[str, object] = {"provider": "aimlapi", "on": "submit", "do": "status"}
    lost_one = fault | {"on": "poll", "status": 404, "match_prompt": "a dog"}
    simulator.faults([lost_one, *(fault | {"status": status} for status in (429, 403, 401))])
    # When
    *refused, unknown, lost, failed, moderated = sdk.outcomes(
        (GENERATE, VEO),
        (GENERATE, VEO),
        (GENERATE, VEO),
        (GENERATE, VEO | {"model": "nobody/nothing"}),
        (GENERATE, VEO | {"prompt": "a dog"}),
        (GENERATE, VEO | {"prompt": "[sim:fail] a cat"}),
        (GENERATE, VEO | {"prompt": "[sim:moderate] a cat"}),
    )
    # Then it has a class for each refusal
    assert [(one.status, one.raised[0]) for one in (*refused, unknown, lost)] == [
        (429, "RateLimitError"),
        (403, "PermissionDeniedError"),
        (401, "AuthenticationError"),
        (400, "BadRequestError"),
        (404, "NotFoundError"),
    ]
    assert "model: unknown" in unknown.message
    # And a failure is an answer like any other
    assert (failed.value["status"], failed.value["video"]) == ("error", None)
    assert failed.value["error"]["name"] == "InternalServerError"
    assert "moderation" in moderated.value["error"]["message"]
    assert len(simulator.bill()) == 3
