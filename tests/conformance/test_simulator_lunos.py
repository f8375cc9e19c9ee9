"""Lunos' client, in Node, finishes whole jobs against the simulated gateway."""

import re

import pytest

from tests.conformance.documents.lunos import LUNOS
from tests.conformance.driving import LUNOS_CLIENT, Driven, present
from tests.conformance.watching import SOON, Simulator, watched

MODEL = "google/veo-3.0-generate-preview"
#: Milliseconds between polls, and in all.
PATIENCE = (50, SOON * 1000)


@pytest.fixture
def client(simulator: Simulator) -> Driven:
    return Driven(LUNOS_CLIENT, simulator.env["LUNOS_BASE_URL"], simulator.env["LUNOS_API_KEY"])


def test_the_client_makes_videos_with_each_of_its_verbs(
    simulator: Simulator, client: Driven
) -> None:
    # When
    made, asked, started = client.outcomes(
        ("video.generateAndWait", ({"prompt": "a cät", "negativePrompt": "dogs"}, *PATIENCE)),
        ("video.generateVideoAndWait", ({"model": MODEL, "prompt": "a fox"}, *PATIENCE)),
        ("video.generateMP4", ({"prompt": "[sim:never] a cat"},)),
    )
    # Then it waited for the videos and found them where it looks
    for outcome in (made, asked):
        assert outcome.value["status"] == "completed"
        assert watched(outcome.value["video_url"]) == (1280, 720, 8.0, 24)
    # And an operation that goes on is pending
    assert started.value["id"].startswith("video-op:")
    assert client.call("video.getVideoStatus", started.value["id"])["status"] == "pending"
    # And the bill has what was sent
    first, second, third = simulator.bill()
    assert first["body"] == {
        "model": MODEL,
        "prompt": "a cät",
        "parameters": {"negativePrompt": "dogs"},
        "response_format": "mp4",
    }
    assert second["body"] == {"model": MODEL, "prompt": "a fox"}
    assert third["operation_id"] == started.value["id"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("fail", "Video generation failed: Video generation failed."),
        ("moderate", "Video generation failed: The prompt violates the usage guidelines."),
    ],
)
def test_the_client_reads_a_failure(client: Driven, script: str, words: str) -> None:
    given = ({"prompt": f"[sim:{script}] a cat"}, *PATIENCE)
    (outcome,) = client.outcomes(("video.generateAndWait", given))
    assert (outcome.raised[0], outcome.message) == ("Error", words)


def test_the_client_recognises_the_refusals(simulator: Simulator, client: Driven) -> None:
    # Given a vendor that has no room for one job, and no credit for the next
    fault: dict[str, object] = {"provider": "lunos", "on": "submit", "do": "status"}
    simulator.faults([fault | {"status": 429, "retry_after": 3}, fault | {"status": 402}])
    # When
    cat = ({"prompt": "a cat"},)
    busy, broke, unknown, gone, tall = client.outcomes(
        ("video.generate", cat),
        ("video.generate", cat),
        ("video.generate", ({"prompt": "a cat", "model": "google/veo-4"},)),
        ("video.getVideoStatus", ("video-op:user123:1",)),
        ("video.generate", ({"prompt": "a cat", "aspectRatio": "9:16"},)),
    )
    (stranger,) = Driven(LUNOS_CLIENT, client.base_url, "not a token").outcomes(
        ("video.generate", cat)
    )
    # Then it has a class, or a code, for each, and reads the vendor's words
    assert (busy.status, busy.raised[0], busy.details) == (
        429,
        "RateLimitError",
        {"retryAfter": 3},
    )
    assert (broke.status, broke.raised[0]) == (402, "APIError")
    assert (unknown.status, unknown.raised[0]) == (404, "LunosError")
    assert unknown.details == "Model not found"
    assert (gone.status, gone.details) == (404, "Operation not found")
    assert (stranger.status, stranger.raised[0]) == (401, "AuthenticationError")
    # And what it refuses itself is not asked for
    assert tall.raised[0] == "ValidationError"
    assert simulator.bill() == []


def test_our_table_has_every_word_of_the_clients_types() -> None:
    types = LUNOS_CLIENT.home / "node_modules" / LUNOS_CLIENT.package / "dist/index.d.ts"
    (words,) = re.findall(
        r"interface VideoGenerationStatus \{[^}]*?\sstatus: ([^;]+);", present(types).read_text()
    )
    assert {word.strip('" ') for word in words.split("|")} == LUNOS.words_of_sdk
