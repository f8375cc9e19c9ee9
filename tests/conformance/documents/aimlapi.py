"""AI/ML API's answers: the schemas and the pages on errors of aimlapi/api-docs f14fa72."""

from dataclasses import replace
from typing import Any

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented

MODERATED = "The prompt was rejected by content moderation."


def generation(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": ID, "status": word}
    match word:
        case "completed":
            return shown | {"video": {"url": LINK}, "meta": {"usage": {"credits_used": 120_000}}}
        case "error":
            return shown | {"error": {"name": "ServerError", "message": "It failed."}}
        case _:
            return shown


AIMLAPI = Documented(
    words={
        "waiting": Phase.QUEUED,
        "active": Phase.RUNNING,
        "queued": Phase.QUEUED,
        "generating": Phase.RUNNING,
        "completed": Phase.SUCCEEDED,
        "error": Phase.FAILED,
    },
    words_of_sdk=frozenset({"waiting", "active", "queued", "generating", "completed", "error"}),
    answer=generation,
    needed={"queued": ("status",), "completed": ("status", "video")},
    faults={MODERATED: Fault.MODERATED, "It failed.": Fault.UNKNOWN, None: Fault.UNKNOWN},
    failed=lambda words: (
        generation("error") | {"error": words and {"name": "ServerError", "message": words}}
    ),
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        403: Fault.QUOTA,
        404: Fault.GONE,
        429: Fault.RATE,
        500: Fault.TRANSIENT,
        502: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
        504: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 403, 404, 429}),
    error=lambda words: {
        "message": words,
        "path": "/v2/video/generations",
        "requestId": "798b860e-98c2-4e8e-8c50-550bcfc2eccc",
        "statusCode": 429,
        "timestamp": "2025-03-11T07:13:27.813Z",
    },
    accepted={"id": ID, "status": "queued"},
    made=lambda video: generation("completed") | {"video": video},
)
AIMLAPI_LEGACY = replace(AIMLAPI, id_prefix="m/")
