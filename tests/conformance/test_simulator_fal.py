"""fal-client finishes whole jobs against the simulator, and so does our adapter."""

from collections.abc import Iterator
from operator import methodcaller
from typing import Any

import fal_client
import pytest
from fal_client import Completed, FalClientHTTPError, SyncClient, SyncRequestHandle
from fal_client import client as sdk

from models.failure import Fault
from providers.base import Accepted, Phase
from tests.conformance.judging import DATA, IMAGE, LAST, ask
from tests.conformance.talking import settled, told
from tests.conformance.watching import Simulator, poll_until, watched

PIKA = "fal-ai/pika/v2.2"


@pytest.fixture
def fal(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncClient]:
    monkeypatch.setattr(sdk, "QUEUE_URL_FORMAT", simulator.env["FAL_BASE_URL"] + "/")
    client = SyncClient(key=simulator.env["FAL_KEY"], default_timeout=10)
    yield client
    client._client.close()  # noqa: SLF001 - the SDK has no other way to close it


def finish(handle: SyncRequestHandle) -> list[fal_client.Status]:
    return poll_until(handle.status, lambda seen: isinstance(seen, Completed))


def test_fals_sdk_makes_a_video_from_text(simulator: Simulator, fal: SyncClient) -> None:
    # When
    arguments = {"prompt": "a cat", "aspect_ratio": "4:5", "duration": 10, "seed": 7}
    handle = fal.submit(f"{PIKA}/text-to-video", arguments)
    seen = finish(handle)
    result = handle.get()

    # Then it waited, ran and ended with a video as asked
    kinds = list(dict.fromkeys(type(status).__name__ for status in seen))
    assert kinds == ["Queued", "InProgress", "Completed"]
    assert watched(result["video"]["url"]) == (720, 900, 10.0, 24)

    # And it is on the bill as it was sent
    (row,) = simulator.bill()
    assert row["operation_id"] == f"fal-ai/pika/requests/{handle.request_id}"
    assert row["path"] == f"/fal/{PIKA}/text-to-video"
    assert row["body"] == arguments


def test_fals_sdk_makes_a_video_from_one_image_and_from_two(fal: SyncClient) -> None:
    one = fal.submit(f"{PIKA}/image-to-video", {"prompt": "a cat", "image_url": DATA})
    frames = {"image_urls": [IMAGE, LAST], "transitions": [{"duration": 3}], "resolution": "1080p"}
    two = fal.submit(f"{PIKA}/pikaframes", frames)

    assert watched(one.get()["video"]["url"]) == (1280, 720, 5.0, 24)
    assert watched(two.get()["video"]["url"]) == (1920, 1080, 3.0, 24)


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        ({"prompt": "[sim:fail] a cat"}, 500, "internal_server_error"),
        ({"prompt": "[sim:moderate] a cat"}, 422, "content_policy_violation"),
        ({"prompt": "a cat", "resolution": "4k"}, 422, "one_of"),
        ({}, 422, "missing"),
    ],
)
def test_fals_sdk_learns_of_a_failure_from_the_result(
    fal: SyncClient, arguments: dict[str, Any], status: int, kind: str
) -> None:
    handle = fal.submit(f"{PIKA}/text-to-video", arguments)
    finish(handle)

    with pytest.raises(FalClientHTTPError) as caught:
        handle.get()

    assert caught.value.status_code == status
    assert [error["type"] for error in caught.value.response.json()["detail"]] == [kind]


def test_a_cancelled_request_is_gone_or_says_so(fal: SyncClient) -> None:
    queued = fal.submit(f"{PIKA}/text-to-video", {"prompt": "[sim:slow] a cat"})
    running = fal.submit(f"{PIKA}/text-to-video", {"prompt": "[sim:never] a cat"})
    poll_until(running.status, lambda seen: isinstance(seen, fal_client.InProgress))

    queued.cancel()
    running.cancel()

    with pytest.raises(FalClientHTTPError) as gone:
        queued.status()
    assert gone.value.status_code == 404
    (completed,) = finish(running)
    assert isinstance(completed, Completed)
    assert completed.error_type == "client_cancelled"


def test_fals_sdk_recognises_the_refusals(
    simulator: Simulator, fal: SyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "MAX_ATTEMPTS", 1)
    stranger = SyncClient(key="not-a-pair", default_timeout=10)
    simulator.faults([{"provider": "fal", "on": "submit", "do": "status", "status": 429}])

    for client, status in ((fal, 429), (stranger, 401)):
        with pytest.raises(FalClientHTTPError) as caught:
            client.submit(f"{PIKA}/text-to-video", {"prompt": "a cat"})
        assert caught.value.status_code == status
        client._client.close()  # noqa: SLF001 - the SDK has no other way to close it

    assert simulator.bill() == []


def accepted(simulator: Simulator, **changes: Any) -> str:
    """The id of an operation that our adapter started."""
    asked = ask(**{"upstream": PIKA, "prompt": "a cat"} | changes)
    answer: Accepted = told(simulator, "fal", lambda provider: provider.submit(asked))
    return answer.operation_id


def test_our_adapter_makes_videos(simulator: Simulator) -> None:
    text = accepted(simulator)
    frames = accepted(simulator, image=IMAGE, last_image=LAST, duration_seconds=10)

    assert [row["operation_id"] for row in simulator.bill()] == [text, frames]
    for operation, seconds in ((text, 5.0), (frames, 10.0)):
        update = settled(simulator, "fal", operation)
        assert update.phase is Phase.SUCCEEDED
        assert update.videos[0].url is not None
        assert watched(update.videos[0].url) == (1280, 720, seconds, 24)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"prompt": "[sim:fail] a cat"}, Fault.TRANSIENT),
        ({"prompt": "[sim:moderate] a cat"}, Fault.MODERATED),
        ({"resolution": "4k"}, Fault.REFUSED),
    ],
)
def test_our_adapter_is_not_deceived_by_completed(
    simulator: Simulator, changes: dict[str, Any], fault: Fault
) -> None:
    update = settled(simulator, "fal", accepted(simulator, **changes))

    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert update.failure.fault is fault


def test_our_adapter_cancels_what_has_not_ended(simulator: Simulator) -> None:
    never = accepted(simulator, prompt="[sim:never] a cat")
    done = accepted(simulator)
    settled(simulator, "fal", done)

    for operation in (never, done):
        told(simulator, "fal", methodcaller("cancel", operation))

    # A request that was still queued is gone, one that ran says that it was cancelled.
    left = told(simulator, "fal", lambda provider: provider.poll([never, done]))
    assert left[done].phase is Phase.SUCCEEDED
    assert never not in left or left[never].phase is Phase.CANCELLED
