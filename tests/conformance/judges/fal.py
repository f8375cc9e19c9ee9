"""fal's judge: fal-client, whose only way to another host is its constant for the queue's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fal_client.client
import pytest
from fal_client import SyncClient

from tests.conformance.judging import DATA, IMAGE, LAST, PROMPT, Case, Judge, ask

KEY = "key-id:key-secret"
ID = "024ca5b1-45d3-4afd-883e-ad3abe2a1c4d"
PIKA = "fal-ai/pika/v2.2"
#: An operation of ours: where the request lives, without the model's endpoint.
PLACE = f"fal-ai/pika/requests/{ID}"
CALLBACK = "https://longtake.example.com/callbacks/fal/m1?x=1&y=é"
ACCEPTED = {
    "request_id": ID,
    "gateway_request_id": ID,
    "status": "IN_QUEUE",
    "queue_position": 0,
    "response_url": f"https://queue.fal.run/{PLACE}",
    "status_url": f"https://queue.fal.run/{PLACE}/status",
    "cancel_url": f"https://queue.fal.run/{PLACE}/cancel",
}


@contextmanager
def sdk(url: str) -> Iterator[SyncClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{url}/")
        client = SyncClient(key=KEY)
        yield client
        client._client.close()  # noqa: SLF001 - the SDK has no other way to close it


def submission(
    name: str, endpoint: str, arguments: dict[str, Any], webhook: str | None = None, **changes: Any
) -> Case:
    shared = {"prompt": PROMPT, "resolution": "720p"}
    return Case(
        name,
        sdk=lambda client: client.submit(endpoint, shared | arguments, webhook_url=webhook),
        ours=lambda provider: provider.submit(
            ask(**{"upstream": PIKA, "callback_url": webhook} | changes)
        ),
        answer=ACCEPTED,
    )


FAL = Judge(
    credentials={"FAL_KEY": KEY},
    base_path="",
    client=sdk,
    cases=(
        submission("submit text", f"{PIKA}/text-to-video", {"aspect_ratio": "16:9", "duration": 5}),
        submission(
            "submit text with every option",
            f"{PIKA}/text-to-video",
            {
                "aspect_ratio": "4:5",
                "resolution": "1080p",
                "duration": 10,
                "seed": 0,
                "negative_prompt": "blur",
            },
            webhook=CALLBACK,
            aspect_ratio="4:5",
            resolution="1080p",
            duration_seconds=10,
            seed=0,
            negative_prompt="blur",
        ),
        submission(
            "submit image",
            f"{PIKA}/image-to-video",
            {"image_url": IMAGE, "duration": 5, "seed": 7},
            image=IMAGE,
            seed=7,
        ),
        submission(
            "submit first and last image",
            f"{PIKA}/pikaframes",
            {"image_urls": [DATA, LAST], "transitions": [{"duration": 10}]},
            image=DATA,
            last_image=LAST,
            duration_seconds=10,
        ),
        submission(
            "submit to a model that is not in the catalogue",
            "someone/some-model/image-to-video",
            {
                "image_url": IMAGE,
                "aspect_ratio": "16:9",
                "duration": 5,
                "cfg_scale": 0.5,
                "generate_audio": False,
            },
            upstream="someone/some-model/image-to-video",
            image=IMAGE,
            cfg_scale=0.5,
            audio=False,
        ),
        Case(
            "poll",
            sdk=lambda client: client.status(f"{PIKA}/text-to-video", ID),
            ours=lambda provider: provider.poll([PLACE]),
            answer={"status": "IN_PROGRESS", "logs": None},
            status=202,
        ),
        Case(
            "poll what is completed",
            sdk=lambda client: client.result(f"{PIKA}/text-to-video", ID),
            ours=lambda provider: provider.poll([PLACE]),
            answer={"status": "COMPLETED", "logs": None, "video": {"url": IMAGE}},
        ),
        Case(
            "poll a workflow",
            sdk=lambda client: client.status("workflows/someone/some-flow", ID),
            ours=lambda provider: provider.poll([f"workflows/someone/some-flow/requests/{ID}"]),
            answer={"status": "IN_QUEUE", "queue_position": 3},
            status=202,
        ),
        Case(
            "cancel",
            sdk=lambda client: client.cancel(f"{PIKA}/text-to-video", ID),
            ours=lambda provider: provider.cancel(PLACE),
            answer={"status": "CANCELLATION_REQUESTED"},
            status=202,
        ),
    ),
)
