"""AI/ML API's judges: its two Python clients, and the vendor's page of 2025.

Of the older endpoint's fields langchain-aimlapi can say model and prompt only, and it says `n` and
`response_format`, which no page of the vendor's has: the page judges the other fields.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from providers.base import Flow, Provider
from tests.conformance.driving import AIMLAPI_SDK, LANGCHAIN_AIMLAPI, Driven, driving
from tests.conformance.judging import IMAGE, LAST, POLLED, PROMPT, SUBMITTED, Case, Judge, ask
from tests.conformance.replaying import Replayer

ID = "video-op:user123:1703123456789"
KEY = "aimlapi-test-key"
CREDENTIALS = {"AIMLAPI_API_KEY": KEY}
#: Ends the clients' wait, and is an answer to the submit as well.
DONE = {"id": ID, "status": "completed", "video": {"url": "https://cdn.example.com/v.mp4"}}
QUEUED = {"id": ID, "status": "queued"}
FISH = "https://upload.wikimedia.org/wikipedia/commons/3/35/Maldivesfish2.jpg"
LEGACY = "/v2/generate/video/runway/generation"


def generated(
    name: str, told: dict[str, Any], part: slice, ours: Callable[[Provider], Flow[Any]]
) -> Case:
    """The client has one call for a whole job; what it has no parameter for goes in extra_body."""
    return Case(
        name,
        sdk=lambda sdk: sdk.call("videos.generate_with_polling", prompt=PROMPT, **told),
        ours=ours,
        answer=DONE,
        part=part,
    )


AIMLAPI = Judge(
    credentials=CREDENTIALS,
    base_path="/v1",
    client=driving(AIMLAPI_SDK, KEY),
    cases=(
        generated(
            "submit text",
            {
                "model": "google/veo-3.1-t2v",
                "aspect_ratio": "9:16",
                "duration": 6,
                "negative_prompt": "cartoon",
                "seed": 7,
                "extra_body": {"resolution": "720p", "generate_audio": False},
            },
            SUBMITTED,
            lambda provider: provider.submit(
                ask(
                    upstream="google/veo-3.1-t2v",
                    aspect_ratio="9:16",
                    duration_seconds=6,
                    negative_prompt="cartoon",
                    seed=7,
                    audio=False,
                )
            ),
        ),
        generated(
            "submit image",
            {
                "model": "klingai/video-v3-standard-image-to-video",
                "duration": 5,
                "extra_body": {"image_url": IMAGE, "tail_image_url": LAST, "cfg_scale": 0.5},
            },
            SUBMITTED,
            lambda provider: provider.submit(
                ask(
                    upstream="klingai/video-v3-standard-image-to-video",
                    image=IMAGE,
                    last_image=LAST,
                    cfg_scale=0.5,
                )
            ),
        ),
        generated(
            "poll",
            {"model": "google/veo-3.1-t2v"},
            POLLED,
            lambda provider: provider.poll([ID]),
        ),
    ),
)


@dataclass(frozen=True)
class Legacy:
    """The two that judge the older endpoint."""

    page: Replayer
    langchain: Driven


@contextmanager
def both(origin: str) -> Iterator[Legacy]:
    yield Legacy(Replayer(origin), Driven(LANGCHAIN_AIMLAPI, f"{origin}/v2", KEY))


def as_on_the_page(body: dict[str, Any] | None, *, query: str = "") -> dict[str, Any]:
    """A request of the page "Generate Video", whose samples differ in their language only."""
    return {
        "method": "GET" if body is None else "POST",
        "path": LEGACY + query,
        "headers": {
            "Authorization": f"Bearer {KEY}",
            **({} if body is None else {"Content-Type": "application/json"}),
        },
        "body": body,
    }


def legacy(name: str, page: dict[str, Any], **changes: object) -> Case:
    body = {
        "model": "gen3a_turbo",
        "prompt": "A jellyfish in the ocean",
        "ratio": "16:9",
        "duration": 5,
        **page,
    }
    values = {"upstream": "runway/gen3a_turbo", "prompt": "A jellyfish in the ocean", **changes}
    return Case(
        name,
        sdk=lambda judges: judges.page.send(as_on_the_page(body)),
        ours=lambda provider: provider.submit(ask(**values)),
        answer=QUEUED,
        status=201,
    )


AIMLAPI_LEGACY = Judge(
    credentials=CREDENTIALS,
    base_path="",
    client=both,
    cases=(
        legacy("submit text", {}),
        legacy("submit image", {"image_url": FISH}, image=FISH),
        legacy(
            "submit with every field",
            {
                "image_url": FISH,
                "last_image_url": LAST,
                "duration": 10,
                "seed": 7,
                "watermark": False,
            },
            image=FISH,
            last_image=LAST,
            duration_seconds=10,
            seed=7,
            watermark=False,
        ),
        Case(
            "poll",
            sdk=lambda judges: judges.page.send(as_on_the_page(None, query=f"?generation_id={ID}")),
            ours=lambda provider: provider.poll([f"runway/{ID}"]),
            answer=QUEUED,
        ),
        Case(
            "submit text as langchain-aimlapi",
            sdk=lambda judges: judges.langchain.call("generate_videos", prompt=PROMPT),
            ours=lambda provider: provider.submit(ask(upstream="google/google/veo3")),
            answer=DONE,
            part=SUBMITTED,
            apart=frozenset({"n", "response_format", "ratio", "duration"}),
        ),
        Case(
            "poll as langchain-aimlapi",
            sdk=lambda judges: judges.langchain.call("generate_videos", prompt=PROMPT),
            ours=lambda provider: provider.poll([f"google/{ID}"]),
            answer=DONE,
            part=POLLED,
        ),
    ),
)
