"""AI/ML API's judges: aimlapi-sdk-python 2.24.0rc1 as recorded, and the vendor's page of 2025.

Both PyPI clients pin an openai and a langchain-core that our own judges can't share, so the first
one's requests are on file (captured/aimlapi_sdk.json). langchain-aimlapi says `n` and
`response_format`, which no page of the vendor's has: it is held against the simulator instead.
"""

from typing import Any

from tests.conformance.judging import IMAGE, LAST, Case, Judge, ask
from tests.conformance.replaying import captured, replaying

ID = "video-op:user123:1703123456789"
KEY = {"AIMLAPI_API_KEY": "aimlapi-test-key"}
QUEUED = {"id": ID, "status": "queued"}
SDK = captured("aimlapi_sdk.json")
FISH = "https://upload.wikimedia.org/wikipedia/commons/3/35/Maldivesfish2.jpg"
LEGACY = "/v2/generate/video/runway/generation"


def as_on_the_page(body: dict[str, Any] | None, *, query: str = "") -> dict[str, Any]:
    """A request of the page "Generate Video", whose samples differ in their language only."""
    return {
        "method": "GET" if body is None else "POST",
        "path": LEGACY + query,
        "headers": {
            "Authorization": "Bearer aimlapi-test-key",
            **({} if body is None else {"Content-Type": "application/json"}),
        },
        "body": body,
    }


AIMLAPI = Judge(
    credentials=KEY,
    base_path="",
    client=replaying,
    cases=(
        Case(
            "submit text",
            sdk=lambda sdk: sdk.send(SDK["submit text"]),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="google/veo-3.1-t2v",
                    aspect_ratio="9:16",
                    duration_seconds=6,
                    negative_prompt="cartoon",
                    seed=7,
                    audio=False,
                )
            ),
            answer=QUEUED,
        ),
        Case(
            "submit image",
            sdk=lambda sdk: sdk.send(SDK["submit image"]),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="klingai/video-v3-standard-image-to-video",
                    image=IMAGE,
                    last_image=LAST,
                    cfg_scale=0.5,
                )
            ),
            answer=QUEUED,
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.send(SDK["poll"]),
            ours=lambda provider: provider.poll([ID]),
            answer=QUEUED,
        ),
    ),
)


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
        sdk=lambda sdk: sdk.send(as_on_the_page(body)),
        ours=lambda provider: provider.submit(ask(**values)),
        answer=QUEUED,
        status=201,
    )


AIMLAPI_LEGACY = Judge(
    credentials=KEY,
    base_path="",
    client=replaying,
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
            sdk=lambda sdk: sdk.send(as_on_the_page(None, query=f"?generation_id={ID}")),
            ours=lambda provider: provider.poll([f"runway/{ID}"]),
            answer=QUEUED,
        ),
        Case(
            "poll as langchain-aimlapi 0.1.3",
            sdk=lambda sdk: sdk.send(captured("langchain_aimlapi.json")["poll"]),
            ours=lambda provider: provider.poll([f"google/{ID}"]),
            answer=QUEUED,
        ),
    ),
)
