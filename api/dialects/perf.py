"""Perf's video API, strict: its fields and words for each status, its sentences, our numbers.

Source: docs.withperf.pro/api-reference/video; codes of further errors from perf-sdk 0.2.0.
"""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, get_args

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import MAX_BODY, takes_up_to
from api.caller import milliseconds_since
from api.dialects.dialect import Dialect
from api.dialects.fields import Fields, read_object
from api.dialects.perf_shapes import (
    ModelName,
    PerfComplete,
    PerfError,
    PerfFailed,
    PerfPending,
    PerfProcessing,
    PerfRequest,
)
from api.dialects.submitting import read_own, submit, view_of
from api.dialects.words import StatusWords
from api.errors import STATUS
from api.front import TenantRoute, front_of
from api.openapi import body_of, dialect_responses
from catalog.models import Catalog
from models.failure import RequestRefused, not_found
from models.records import Json

PREFIX: Final = "/perf"
PATH: Final = "/perf/v1/video/generations"
MODELS: Final[tuple[str, ...]] = get_args(ModelName)
RESOLUTIONS: Final = ("720p", "1080p")
RATIOS: Final = ("16:9", "9:16", "1:1", "4:3")
DEFAULTS: Final[Mapping[str, Any]] = {
    "model": "runway-gen3",
    "duration_seconds": 4,
    "resolution": "1080p",
    "aspect_ratio": "16:9",
}
#: Perf has no word for a cancelled job.
WORDS: Final = StatusWords(
    {
        "pending": "pending",
        "processing": "processing",
        "complete": "complete",
        "failed": "failed",
        "cancelled": "failed",
    }
)
#: The document's sentence for what a safety system refused.
MODERATED: Final = "Content policy violation: prompt contains prohibited content"

router = APIRouter(route_class=TenantRoute, tags=["Perf"])


@router.post(
    PATH,
    status_code=202,
    summary="Create a video generation, as Perf does",
    responses=dialect_responses(PerfError, {202: PerfPending}, 400, 402, 422, 429),
    openapi_extra=body_of(PerfRequest),
)
@takes_up_to(MAX_BODY)
async def create(request: Request) -> Response:
    """Accept a prompt as a job; what its model can't make becomes the nearest that it makes.

    The header `Longtake-Adapted` lists what was changed, as in `duration_seconds=5 (asked 4)`.
    """
    began = time.perf_counter()
    body = await read_object(request)
    submitted = await submit(request, _wanted(Fields(body)), body=body)
    shown = _pending(submitted.view, _catalog(request), began=began)
    return answer(shown, status=202, headers=submitted.headers)


@router.get(
    PATH + "/{job_id}",
    summary="Read a video generation, as Perf shows it",
    responses=dialect_responses(
        PerfError, {200: PerfPending | PerfProcessing | PerfComplete | PerfFailed}, 404
    ),
)
async def read(request: Request, job_id: str) -> Response:
    """The job in the shape of its status."""
    began = time.perf_counter()
    job = await read_own(request, job_id)
    view, catalog = view_of(request, job), _catalog(request)
    match WORDS.of(job.state):
        case "pending":
            return answer(_pending(view, catalog, began=began))
        case "complete":
            return answer(_complete(view, catalog))
        case "failed":
            return answer(_failed(view, catalog))
        case _:
            return answer(_processing(view, catalog))


def _wanted(fields: Fields) -> Json:
    """The native request's fields; raises RequestRefused for what the document does not allow."""
    asked = {
        "prompt": fields.required_text("prompt"),
        "model": fields.one_of("model", MODELS),
        "duration_seconds": fields.positive("duration_seconds"),
        "resolution": fields.one_of("resolution", RESOLUTIONS),
        "aspect_ratio": fields.one_of("aspect_ratio", RATIOS),
    }
    return {name: DEFAULTS.get(name) if value is None else value for name, value in asked.items()}


def _job(view: Json, catalog: Catalog) -> Json:
    return {
        "id": view["id"],
        "status": WORDS.of(view["status"]),
        "model": _model(view["model"], catalog),
        "prompt": view["prompt"],
    }


def _pending(view: Json, catalog: Catalog, *, began: float) -> Json:
    """The answer to a creation, and about a job that has not begun: how long it took is its own."""
    latency = {"latency_ms": milliseconds_since(began)}
    return {
        **_job(view, catalog),
        **_made(view),
        "estimated_cost_usd": view["estimated_cost_usd"],
        "perf": _used(view, catalog) | latency,
    }


def _processing(view: Json, catalog: Catalog) -> Json:
    return {
        **_job(view, catalog),
        "progress_percent": view["progress_percent"],
        "estimated_remaining_seconds": view.get("estimated_remaining_seconds", 0),
    }


def _complete(view: Json, catalog: Catalog) -> Json:
    took = {name: view["perf"].get(name, 0) for name in ("generation_time_ms", "cost_usd")}
    return {
        **_job(view, catalog),
        "video_url": view.get("video_url"),
        **_made(view),
        "perf": _used(view, catalog) | took,
    }


def _failed(view: Json, catalog: Catalog) -> Json:
    error = view.get("error") or {}
    is_moderated = error.get("code") == "content_policy"
    message = MODERATED if is_moderated else error.get("message") or "Video generation failed"
    return {
        **_job(view, catalog),
        "error_message": message,
        "perf": _used(view, catalog),
    }


def _made(view: Json) -> Json:
    """What is delivered, which may differ from what was asked for."""
    return {name: view[name] for name in ("duration_seconds", "resolution", "aspect_ratio")}


def _used(view: Json, catalog: Catalog) -> Json:
    return {
        "request_id": view["perf"]["request_id"],
        "model_used": _model(view["perf"]["model_used"], catalog),
    }


def _model(name: str, catalog: Catalog) -> str:
    """Perf's name of a model; our own for one that Perf does not have."""
    if name in MODELS:
        return name
    try:
        model = catalog.find(name)
    except RequestRefused:  # it is not in the catalogue any more
        return name
    return next((each for each in MODELS if each in (model.name, *model.aliases)), name)


def _catalog(request: Request) -> Catalog:
    return front_of(request).engine.catalog


class PerfErrors:
    """`{"error": {"type", "message"}}`: documented errors exactly so, and as 400 or 404.

    The others have `code` and `request_id` beside them, in the envelope that perf-sdk reads: it
    takes an error without a code for one that is worth a retry.
    """

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:
        match refusal.type:
            case "invalid_request" | "payload_too_large":
                return _documented(400, "invalid_request", refusal.message)
            case "not_found":
                is_deleted = refusal.code == "job_deleted"
                message = not_found().message if is_deleted else refusal.message
                return _documented(404, "not_found", message)
            case _:
                kind, code = _kind_and_code(refusal)
                error = {
                    "type": kind,
                    "code": code,
                    "message": refusal.message,
                    "request_id": request_id,
                }
                return answer({"error": error}, status=STATUS[refusal.type])


def _documented(status: int, kind: str, message: str) -> Response:
    return answer({"error": {"type": kind, "message": message}}, status=status)


def _kind_and_code(refusal: RequestRefused) -> tuple[str, str]:
    """perf-sdk's code where it has one, so that it repeats what is worth it and nothing else."""
    match refusal.type:
        case "authentication_error":
            return "authentication_error", "invalid_api_key"
        case "rate_limited":
            is_usage = refusal.code == "per_day_limit"
            code = "usage_limit_exceeded" if is_usage else "rate_limit_exceeded"
            return "rate_limit_error", code
        case kind if STATUS[kind] >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "server_error", refusal.type
        case kind:
            return kind, refusal.code


PERF: Final = Dialect(prefixes=(PREFIX,), router=router, errors=PerfErrors())
