"""Replicate's SDK finishes whole jobs against the simulator, and so does our adapter."""

from collections.abc import Iterator
from operator import methodcaller
from typing import Any

import httpx
import pytest
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.prediction import Prediction
from replicate.webhook import Webhooks

from models.failure import Fault
from providers.base import Accepted, Phase
from tests.conformance.judging import IMAGE, LAST, ask
from tests.conformance.talking import settled, told
from tests.conformance.watching import Simulator, poll_until, watched

VEO = "google/veo-3.1-fast"
KLING = "kwaivgi/kling-v2.1"


@pytest.fixture
def replicate(simulator: Simulator) -> Iterator[Client]:
    client = Client(
        api_token=simulator.env["REPLICATE_API_TOKEN"],
        base_url=simulator.env["REPLICATE_BASE_URL"],
        timeout=httpx.Timeout(10),
    )
    client.poll_interval = 0.02
    yield client
    client._client.close()  # noqa: SLF001 - the SDK has no other way to close it


def create(client: Client, model: str, **given: object) -> Prediction:
    return client.models.predictions.create(model, input={"prompt": "a cat"} | given)


def test_replicates_sdk_makes_a_video_from_text(simulator: Simulator, replicate: Client) -> None:
    # When
    prediction = create(replicate, VEO, aspect_ratio="9:16", duration=4, resolution="720p", seed=7)
    seen = poll_until(
        lambda: replicate.predictions.get(prediction.id),
        lambda shown: shown.status in ("succeeded", "failed", "canceled"),
    )

    # Then it started, ran and succeeded with a video as asked
    assert list(dict.fromkeys(one.status for one in (prediction, *seen))) == [
        *("starting", "processing", "succeeded"),
    ]
    assert watched(str(seen[-1].output)) == (720, 1280, 4.0, 24)

    # And it is on the bill as it was sent
    (row,) = simulator.bill()
    assert row["operation_id"] == prediction.id
    assert row["path"] == f"/replicate/v1/models/{VEO}/predictions"
    assert row["body"] == {
        "input": {
            "prompt": "a cat",
            "aspect_ratio": "9:16",
            "duration": 4,
            "resolution": "720p",
            "seed": 7,
        }
    }


def test_replicates_sdk_makes_a_video_between_two_images(replicate: Client) -> None:
    prediction = create(
        replicate, KLING, start_image=IMAGE, end_image=LAST, mode="pro", duration=10
    )

    prediction.wait()

    assert watched(str(prediction.output)) == (1920, 1080, 10.0, 24)


@pytest.mark.parametrize(
    ("script", "words"), [("fail", "Prediction failed"), ("moderate", "flagged as sensitive")]
)
def test_replicates_sdk_reads_a_failure(replicate: Client, script: str, words: str) -> None:
    prediction = create(replicate, VEO, prompt=f"[sim:{script}] a cat")

    prediction.wait()

    assert prediction.status == "failed"
    assert words in str(prediction.error)


def test_replicates_sdk_cancels_a_prediction(replicate: Client) -> None:
    prediction = create(replicate, VEO, prompt="[sim:never] a cat")

    prediction.cancel()

    assert prediction.status == "canceled"
    assert replicate.predictions.get(prediction.id).status == "canceled"


def test_the_listing_echoes_the_input_but_nothing_that_is_ours(replicate: Client) -> None:
    """Why an attempt whose answer was lost can't be looked up here."""
    webhook = "http://127.0.0.1:9/callbacks/replicate/m1"
    prediction = replicate.models.predictions.create(
        VEO, input={"prompt": "a cat"}, webhook=webhook, webhook_events_filter=["completed"]
    )

    (listed,) = replicate.predictions.list()

    assert (listed.id, listed.input) == (prediction.id, {"prompt": "a cat"})
    assert not {"webhook", "external_id"} & set(Prediction.__fields__)
    assert webhook not in listed.json()


def test_replicates_sdk_recognises_the_refusals(simulator: Simulator, replicate: Client) -> None:
    stranger = Client(api_token="wrong", base_url=simulator.env["REPLICATE_BASE_URL"])
    simulator.faults([{"provider": "replicate", "on": "submit", "do": "status", "status": 429}])

    for client, model, status in (
        (replicate, VEO, 429),
        (stranger, VEO, 401),
        (replicate, "someone/nothing", 404),
        (replicate, KLING, 422),  # for want of a first frame
    ):
        with pytest.raises(ReplicateError) as caught:
            create(client, model)
        assert caught.value.status == status
    stranger._client.close()  # noqa: SLF001 - the SDK has no other way to close it

    assert simulator.bill() == []


def test_the_secret_of_the_callbacks_is_the_one_in_the_environment(
    simulator: Simulator, replicate: Client
) -> None:
    secret = Webhooks(client=replicate).default.secret()

    assert secret.key == simulator.env["REPLICATE_WEBHOOK_SECRET"]


def accepted(simulator: Simulator, **changes: Any) -> str:
    """The id of an operation that our adapter started."""
    asked = ask(**{"upstream": VEO, "prompt": "a cat", "duration_seconds": 4} | changes)
    answer: Accepted = told(simulator, "replicate", lambda provider: provider.submit(asked))
    return answer.operation_id


def test_our_adapter_makes_videos(simulator: Simulator) -> None:
    veo = accepted(simulator, audio=False, seed=3, negative_prompt="blur")
    kling = accepted(
        simulator,
        upstream=KLING,
        image=IMAGE,
        last_image=LAST,
        resolution="1080p",
        duration_seconds=5,
    )
    turbo = accepted(simulator, upstream="kwaivgi/kling-v2.5-turbo-pro", duration_seconds=5)

    assert [row["operation_id"] for row in simulator.bill()] == [veo, kling, turbo]
    for operation, film in (
        (veo, (1280, 720, 4.0, 24)),
        (kling, (1920, 1080, 5.0, 24)),
        (turbo, (1920, 1080, 5.0, 24)),
    ):
        update = settled(simulator, "replicate", operation)
        assert update.phase is Phase.SUCCEEDED
        assert update.videos[0].url is not None
        assert watched(update.videos[0].url) == film


@pytest.mark.parametrize(
    ("script", "fault"), [("fail", Fault.UNKNOWN), ("moderate", Fault.MODERATED)]
)
def test_our_adapter_reads_a_failure(simulator: Simulator, script: str, fault: Fault) -> None:
    update = settled(simulator, "replicate", accepted(simulator, prompt=f"[sim:{script}] a cat"))

    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert update.failure.fault is fault


def test_our_adapter_cancels_what_has_not_ended(simulator: Simulator) -> None:
    never = accepted(simulator, prompt="[sim:never] a cat")
    done = accepted(simulator)
    settled(simulator, "replicate", done)

    for operation in (never, done):
        told(simulator, "replicate", methodcaller("cancel", operation))

    left = told(simulator, "replicate", lambda provider: provider.poll([never, done]))
    assert left[never].phase is Phase.CANCELLED
    assert left[done].phase is Phase.SUCCEEDED
