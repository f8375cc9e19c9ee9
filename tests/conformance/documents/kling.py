"""Kling's answers: the examples and the table of error codes of kling.ai/document-api."""

from typing import Any

from models.failure import Fault
from providers.base import Phase
from tests.conformance.documented import ID, LINK, Documented

MISSING = {"code": 1203, "message": "resource not found", "request_id": "r"}
RISK = "Failure to pass the content risk control system"


def enveloped(data: object) -> dict[str, Any]:
    return {"code": 0, "message": "SUCCEED", "request_id": "r", "data": data}


def video(url: object) -> dict[str, Any]:
    return {"type": "video", "id": "v1", "url": url, "watermark_url": "", "duration": "5.041"}


def task(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": ID,
        "status": word,
        "message": "",
        "create_time": 1781080778802,
        "update_time": 1781080794151,
        "external_id": "m1",
        "outputs": [],
        "billing": [],
    }
    match word:
        case "succeeded":
            return shown | {"outputs": [video(LINK)]}
        case "failed":
            return shown | {"message": "It failed."}
        case _:
            return shown


def legacy_task(word: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "task_id": ID,
        "task_status": word,
        "task_status_msg": "",
        "task_info": {"external_task_id": "m1"},
        "created_at": 1722769557708,
        "updated_at": 1722769557708,
    }
    match word:
        case "succeed":
            done = {"videos": [{"id": "v1", "url": LINK, "duration": "5.041"}]}
            return shown | {"task_result": done, "final_unit_deduction": "1.5"}
        case "failed":
            return shown | {"task_status_msg": "It failed."}
        case _:
            return shown


#: What a status means where no code says more; the codes are tried in unit/providers/test_kling.py.
STATUSES = {
    400: Fault.REFUSED,
    401: Fault.AUTH,
    403: Fault.AUTH,
    404: Fault.GONE,
    429: Fault.RATE,
    500: Fault.TRANSIENT,
    503: Fault.TRANSIENT,
    504: Fault.TRANSIENT,
}
REFUSALS = frozenset({400, 401, 403, 404, 429})
FAULTS = {RISK: Fault.MODERATED, "It failed.": Fault.UNKNOWN, None: Fault.UNKNOWN}

KLING = Documented(
    words={
        "submitted": Phase.QUEUED,
        "processing": Phase.RUNNING,
        "succeeded": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=frozenset({"submitted", "processing", "succeeded", "failed"}),
    answer=lambda word: enveloped([task(word)]),
    needed={"submitted": ("status", "id"), "succeeded": ("status", "outputs")},
    faults=FAULTS,
    failed=lambda words: enveloped([task("failed") | {"message": words}]),
    errors=STATUSES,
    refusals=REFUSALS,
    error=lambda words: {"message": words, "request_id": "r"},
    accepted=enveloped(task("submitted")),
    made=lambda output: enveloped([task("succeeded") | {"outputs": [video(output)]}]),
    in_poll=lambda answer: answer["data"][0],
    in_submit=lambda answer: answer["data"],
    missing=MISSING,
)

KLING_LEGACY = Documented(
    words={
        "submitted": Phase.QUEUED,
        "processing": Phase.RUNNING,
        "succeed": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
    },
    words_of_sdk=frozenset({"submitted", "processing", "succeed", "failed"}),
    answer=lambda word: enveloped(legacy_task(word)),
    needed={"submitted": ("task_status",), "succeed": ("task_status", "task_result")},
    faults=FAULTS,
    failed=lambda words: enveloped(legacy_task("failed") | {"task_status_msg": words}),
    errors=STATUSES,
    refusals=REFUSALS,
    error=lambda words: {"message": words, "request_id": "r"},
    accepted=enveloped(legacy_task("submitted")),
    made=lambda output: enveloped(
        legacy_task("succeed") | {"task_result": {"videos": [{"id": "v1", "url": output}]}}
    ),
    in_poll=lambda answer: answer["data"],
    in_submit=lambda answer: answer["data"],
    id_field="task_id",
    id_prefix="text2video/",
    missing=MISSING,
)
