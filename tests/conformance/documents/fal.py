"""The fal queue's answers: fal-client 1.0.3, and fal.ai/docs (errors, request errors)."""

import inspect
import re
from typing import Any

from fal_client import SyncRequestHandle

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented

PLACE = f"https://queue.fal.run/fal-ai/pika/requests/{ID}"


def status(word: str) -> dict[str, Any]:
    """A status, and beside it the result: the same answer is given to both questions."""
    match word:
        case "IN_QUEUE":
            return {"status": word, "request_id": ID, "queue_position": 0}
        case "COMPLETED":
            metrics = {"inference_time": 41.5}
            return {"status": word, "logs": None, "metrics": metrics, "video": {"url": LINK}}
        case _:
            return {"status": word, "request_id": ID, "logs": None}


def failed(kind: str | None) -> dict[str, Any]:
    return status("COMPLETED") | {"error": "It failed."} | ({"error_type": kind} if kind else {})


def words_of_sdk() -> frozenset[str]:
    """The words that the SDK's own reading of a status tells apart: it has no type for them."""
    source = inspect.getsource(SyncRequestHandle._parse_status)  # noqa: SLF001 - the only place
    return frozenset(re.findall(r'data\["status"\] == "(\w+)"', source))


FAL = Documented(
    words={
        "IN_QUEUE": Phase.QUEUED,
        "IN_PROGRESS": Phase.RUNNING,
        "COMPLETED": Phase.SUCCEEDED,
    },
    words_of_sdk=words_of_sdk(),
    answer=status,
    needed={"IN_QUEUE": ("status",), "COMPLETED": ("status", "video")},
    faults={
        "content_policy_violation": Fault.MODERATED,
        "internal_server_error": Fault.TRANSIENT,
        "generation_timeout": Fault.TRANSIENT,
        "downstream_service_error": Fault.TRANSIENT,
        "downstream_service_unavailable": Fault.TRANSIENT,
        "request_timeout": Fault.TRANSIENT,
        "startup_timeout": Fault.TRANSIENT,
        "runner_scheduling_failure": Fault.TRANSIENT,
        "runner_connection_timeout": Fault.TRANSIENT,
        "runner_disconnected": Fault.TRANSIENT,
        "runner_connection_refused": Fault.TRANSIENT,
        "runner_connection_error": Fault.TRANSIENT,
        "runner_incomplete_response": Fault.TRANSIENT,
        "runner_server_error": Fault.TRANSIENT,
        "internal_error": Fault.TRANSIENT,
        "client_disconnected": Fault.TRANSIENT,
        "bad_request": Fault.REFUSED,
        "no_media_generated": Fault.REFUSED,
        "image_too_small": Fault.REFUSED,
        "file_download_error": Fault.REFUSED,
        "feature_not_supported": Fault.REFUSED,
        "brand_new_type": Fault.UNKNOWN,
        None: Fault.UNKNOWN,
    },
    failed=failed,
    errors={
        400: Fault.REFUSED,
        401: Fault.AUTH,
        403: Fault.AUTH,
        404: Fault.GONE,
        422: Fault.REFUSED,
        429: Fault.RATE,
        500: Fault.TRANSIENT,
        502: Fault.TRANSIENT,
        503: Fault.TRANSIENT,
        504: Fault.TRANSIENT,
    },
    refusals=frozenset({400, 401, 403, 404, 422, 429}),
    error=lambda words: {"detail": words},
    accepted={
        "status": "IN_QUEUE",
        "request_id": ID,
        "gateway_request_id": ID,
        "response_url": PLACE,
        "status_url": f"{PLACE}/status",
        "cancel_url": f"{PLACE}/cancel",
        "queue_position": 0,
    },
    made=lambda output: status("COMPLETED") | {"video": {"url": output}},
    id_field="request_id",
    id_prefix="fal-ai/pika/requests/",
    missing={"detail": "Request not found"},
)
