"""langchain-aimlapi finishes whole jobs against AI/ML API's simulated older endpoint."""

import pytest

from tests.conformance.driving import LANGCHAIN_AIMLAPI, Driven
from tests.conformance.watching import SOON, Simulator, watched

GENERATE = "generate_videos"
CAT = {"prompt": "a cät", "poll_interval": 0.05, "timeout": SOON}


@pytest.fixture
def model(simulator: Simulator) -> Driven:
    base = simulator.env["AIMLAPI_BASE_URL"]
    return Driven(LANGCHAIN_AIMLAPI, base, simulator.env["AIMLAPI_API_KEY"])


def test_the_client_makes_videos_and_reads_failures_and_refusals(
    simulator: Simulator, model: Driven
) -> None:
    # Given a vendor that has no room for one of the jobs
    fault = {"provider": "aimlapi_legacy", "on": "submit", "do": "status", "status": 429}
    simulator.faults([fault | {"match_prompt": "a dog"}])
    # When
    made, invoked, failed, moderated, refused, busy = model.outcomes(
        (GENERATE, CAT),
        ("invoke", {"input": "a bird", "poll_interval": 0.05}),
        (GENERATE, CAT | {"prompt": "[sim:fail] a cat"}),
        (GENERATE, CAT | {"prompt": "[sim:moderate] a cat"}),
        (GENERATE, CAT | {"prompt": ""}),
        (GENERATE, CAT | {"prompt": "a dog"}),
    )
    # Then it waited for each video and found it where it looks
    (address,) = made.value
    assert watched(address) == (1920, 1080, 8.0, 24)
    assert watched(invoked.value) == (1920, 1080, 8.0, 24)
    # And a failure and a refusal are errors of their own kinds
    for outcome, words in ((failed, "failed"), (moderated, "moderation")):
        assert outcome.raised[0] == "RuntimeError"
        assert words in outcome.message
    assert [(one.status, one.raised[0]) for one in (refused, busy)] == [
        (400, "HTTPStatusError"),
        (429, "HTTPStatusError"),
    ]
    # And what was accepted is on the bill, with what only this client says
    assert [row["body"] for row in simulator.bill()] == [
        {"model": "google/veo-3.1-t2v", "prompt": prompt, "n": 1, "response_format": "url"}
        for prompt in ("a cät", "a bird", "[sim:fail] a cat", "[sim:moderate] a cat")
    ]
