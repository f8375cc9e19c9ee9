"""MiniMax's answers: platform.minimax.io's error codes, and the types and fixtures of its mmx."""

from typing import Any

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented

FINE = {"status_code": 0, "status_msg": "success"}


def task(word: str) -> dict[str, Any]:
    """The task and the file that it made, whose answer the test gives to either question."""
    shown: dict[str, Any] = {"base_resp": FINE, "task_id": ID, "status": word, "file_id": ""}
    if word != "Success":
        return shown
    made = {"file_id": "176844028768320", "video_width": 1024, "video_height": 768}
    return shown | made | {"file": {"file_id": "176844028768320", "download_url": LINK}}


def failed(code: str | None) -> dict[str, Any]:
    said = {"status_code": int(code), "status_msg": "no luck"} if code else FINE
    return task("Fail") | {"base_resp": said}


def v2_task(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ID,
        "model": "MiniMax-H3",
        "status": word,
        "resolution": "2K",
        "duration": 5,
        "ratio": "16:9",
        "task_type": "generation",
    }
    match word:
        case "succeeded":
            return {"task": shown | {"content": {"url": LINK}, "usage": {"total_seconds": 5}}}
        case "failed":
            return {"task": shown | {"error": {"code": "1000", "message": "It failed."}}}
        case _:
            return {"task": shown}


def v2_failed(code: str | None) -> dict[str, Any]:
    error = None if code is None else {"code": code, "message": "no luck"}
    return {"task": v2_task("failed")["task"] | {"error": error}}


#: What a status means where no code says more; the codes are tried in unit/providers.
STATUSES = {
    400: Fault.REFUSED,
    401: Fault.AUTH,
    402: Fault.QUOTA,
    403: Fault.AUTH,
    404: Fault.GONE,
    422: Fault.REFUSED,
    429: Fault.RATE,
    500: Fault.TRANSIENT,
    503: Fault.TRANSIENT,
    504: Fault.TRANSIENT,
}
REFUSALS = frozenset({400, 401, 402, 403, 404, 422, 429})
FAULTS: dict[str | None, Fault] = {
    "1026": Fault.MODERATED,
    "1027": Fault.MODERATED,
    "1000": Fault.TRANSIENT,
    "9999": Fault.UNKNOWN,
    None: Fault.UNKNOWN,
}

MINIMAX = Documented(
    words={
        "Preparing": Phase.QUEUED,
        "Queueing": Phase.QUEUED,
        "Processing": Phase.RUNNING,
        "Success": Phase.SUCCEEDED,
        "Fail": Phase.FAILED,
        "Failed": Phase.FAILED,
    },
    words_of_sdk=frozenset({"Preparing", "Queueing", "Processing", "Success", "Fail", "Failed"}),
    answer=task,
    needed={
        "Processing": ("status", "base_resp"),
        "Success": ("status", "base_resp", "file_id", "file"),
    },
    faults=FAULTS,
    failed=failed,
    errors=STATUSES,
    refusals=REFUSALS,
    error=lambda words: {"base_resp": {"status_code": 9999, "status_msg": words}},
    accepted={"task_id": ID, "base_resp": FINE},
    made=lambda output: task("Success") | {"file": {"download_url": output}},
    id_field="task_id",
)

MINIMAX_V2 = Documented(
    words={
        "queued": Phase.QUEUED,
        "running": Phase.RUNNING,
        "succeeded": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
        "expired": Phase.FAILED,
        "cancelled": Phase.CANCELLED,
    },
    words_of_sdk=frozenset({"queued", "running", "succeeded", "failed", "expired", "cancelled"}),
    answer=v2_task,
    needed={"queued": ("status",), "succeeded": ("status", "content")},
    faults=FAULTS,
    failed=v2_failed,
    errors=STATUSES,
    refusals=REFUSALS,
    error=lambda words: {"type": "error", "error": {"type": "an_error", "message": words}},
    accepted={"task_id": ID},
    made=lambda output: {"task": v2_task("succeeded")["task"] | {"content": {"url": output}}},
    in_poll=lambda answer: answer["task"],
    id_field="task_id",
)
