"""Runway's answers: runwayml 5.24.0 and docs.dev.runwayml.com."""

from typing import Any, get_args

from runwayml.types import TaskRetrieveResponse

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented


def runway_task(word: str) -> dict[str, Any]:
    task: dict[str, Any] = {"id": ID, "createdAt": "2026-11-21T00:00:00Z", "status": word}
    match word:
        case "SUCCEEDED":
            return task | {"output": [LINK], "cost": {"credits": 60}}
        case "FAILED":
            return task | {"failure": "An error occurred.", "cost": {"credits": 0}}
        case "CANCELLED":
            return task | {"cost": {"credits": 12}}
        case "RUNNING":
            return task | {"progress": 0.25, "estimatedCost": {"credits": 60.0}}
        case _:
            return task | {"estimatedCost": {"credits": 60.0}}


RUNWAY = Documented(
    words={
        "PENDING": Phase.QUEUED,
        "THROTTLED": Phase.QUEUED,
        "RUNNING": Phase.RUNNING,
        "SUCCEEDED": Phase.SUCCEEDED,
        "FAILED": Phase.FAILED,
        "CANCELLED": Phase.CANCELLED,
    },
    words_of_sdk=frozenset(
        get_args(variant.model_fields["status"].annotation)[0]
        for variant in get_args(get_args(TaskRetrieveResponse)[0])
    ),
    answer=runway_task,
    needed={"RUNNING": ("status",), "SUCCEEDED": ("status", "output")},
    faults={
        "SAFETY.INPUT.TEXT": Fault.MODERATED,
        "SAFETY.INPUT.IMAGE": Fault.MODERATED,
        "SAFETY.OUTPUT.VIDEO": Fault.MODERATED,
        "INPUT_PREPROCESSING.SAFETY.TEXT": Fault.MODERATED,
        "INPUT_PREPROCESSING.INTERNAL": Fault.TRANSIENT,
        "INTERNAL": Fault.TRANSIENT,
        "INTERNAL.BAD_OUTPUT.CODE01": Fault.TRANSIENT,
        "ASSET.INVALID": Fault.REFUSED,
        "INPUT.INVALID": Fault.REFUSED,
        "THIRD_PARTY.UNAVAILABLE": Fault.UNKNOWN,
        "SAFETYNET": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=lambda code: runway_task("FAILED") | ({"failureCode": code} if code else {}),
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        404: Fault.GONE,
        405: Fault.REFUSED,
        429: Fault.RATE,
        502: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
        504: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 404, 405, 429, 503}),
    error=lambda words: {"error": words, "docUrl": "https://docs.dev.runwayml.com"},
    accepted={"id": ID, "estimatedCost": {"credits": 60}},
    made=lambda output: runway_task("SUCCEEDED") | {"output": output},
)
