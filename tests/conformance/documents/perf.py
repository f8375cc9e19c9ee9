"""Perf's answers: docs.withperf.pro/api-reference/video; codes of errors from perf-sdk 0.2.0."""

from typing import Any

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented

MODERATED = "Content policy violation: prompt contains prohibited content"


def job(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": ID, "status": word, "model": "runway-gen3", "prompt": "…"}
    perf: dict[str, Any] = {"request_id": "req_vid_abc123", "model_used": "runway-gen3"}
    match word:
        case "processing":
            return shown | {"progress_percent": 45, "estimated_remaining_seconds": 30}
        case "complete":
            cost = {"generation_time_ms": 45234, "cost_usd": 0.80}
            return shown | {"video_url": LINK, "duration_seconds": 8, "perf": perf | cost}
        case "failed":
            return shown | {"error_message": "It failed.", "perf": perf}
        case _:
            return shown | {"perf": perf}


PERF = Documented(
    words={
        "pending": Phase.QUEUED,
        "processing": Phase.RUNNING,
        "complete": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=frozenset({"pending", "processing", "complete", "failed"}),
    answer=job,
    needed={"pending": ("status",), "complete": ("status", "video_url")},
    faults={MODERATED: Fault.MODERATED, "It failed.": Fault.UNKNOWN, None: Fault.UNKNOWN},
    failed=lambda words: job("failed") | {"error_message": words},
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        404: Fault.GONE,
        429: Fault.RATE,
        500: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 404, 429}),
    error=lambda words: {"error": {"type": "invalid_request", "message": words}},
    accepted=job("pending") | {"estimated_cost_usd": 0.80},
    made=lambda video: job("complete") | {"video_url": video},
    missing={"error": {"type": "not_found", "message": "Video generation job not found"}},
)
