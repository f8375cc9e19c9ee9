"""Lunos' answers: lunos.tech/docs/generative/video and the types of @lunos/client 1.5.0."""

from typing import Any

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented

MODERATED = "The prompt violates the usage guidelines."


def operation(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": ID, "status": word}
    match word:
        case "completed":
            return shown | {"video_url": LINK}
        case "failed":
            return shown | {"error": "It failed."}
        case _:
            return shown


LUNOS = Documented(
    words={
        "pending": Phase.QUEUED,
        "processing": Phase.RUNNING,
        "completed": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=frozenset({"pending", "processing", "completed", "failed"}),
    answer=operation,
    needed={"pending": ("status",), "completed": ("status", "video_url")},
    faults={MODERATED: Fault.MODERATED, "It failed.": Fault.UNKNOWN, None: Fault.UNKNOWN},
    failed=lambda words: operation("failed") | {"error": words},
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        402: Fault.QUOTA,
        404: Fault.GONE,
        429: Fault.RATE,
        500: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 402, 404, 429}),
    error=lambda words: {"error": words},
    accepted={
        "id": ID,
        "operation_name": "operations/veo-3.0-generate-preview/123456789",
        "status": "pending",
    },
    made=lambda video: operation("completed") | {"video_url": video},
)
