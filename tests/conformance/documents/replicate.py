"""Replicate's answers: replicate 1.0.7, and replicate.com/docs (prediction lifecycle, HTTP)."""

from typing import Any, get_args

from replicate.prediction import Prediction

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented

SENSITIVE = "The input or output was flagged as sensitive. Please try again. (E005)"


def prediction(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ID,
        "model": "google/veo-3.1-fast",
        "version": "hidden",
        "input": {"prompt": "a cat"},
        "output": None,
        "logs": "",
        "error": None,
        "status": word,
        "data_removed": False,
        "created_at": "2026-11-21T00:00:00.000Z",
        "metrics": {},
    }
    match word:
        case "succeeded":
            return shown | {"output": LINK, "metrics": {"predict_time": 41.5}}
        case "failed":
            return shown | {"error": "It failed."}
        case _:
            return shown


REPLICATE = Documented(
    words={
        "starting": Phase.QUEUED,
        "processing": Phase.RUNNING,
        "succeeded": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
        "canceled": Phase.CANCELLED,
        "aborted": Phase.CANCELLED,
    },
    # The lifecycle page has one word more than the SDK, which refuses to read it.
    words_of_sdk=frozenset({*get_args(Prediction.__annotations__["status"]), "aborted"}),
    answer=prediction,
    needed={"starting": ("status",), "succeeded": ("status", "output")},
    faults={
        SENSITIVE: Fault.MODERATED,
        "Failure to pass the risk control system": Fault.MODERATED,
        "Prediction interrupted": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=lambda words: prediction("failed") | {"error": words},
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        402: Fault.QUOTA,
        403: Fault.AUTH,
        404: Fault.GONE,
        422: Fault.REFUSED,
        429: Fault.RATE,
        500: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 402, 403, 404, 422, 429}),
    error=lambda words: {"title": "Something is wrong", "detail": words, "status": 400},
    accepted=prediction("starting"),
    made=lambda output: prediction("succeeded") | {"output": output},
    missing={"detail": "The requested resource could not be found.", "status": 404},
)
