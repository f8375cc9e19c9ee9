"""AI/ML API's video API: its universal path, and its older path for each vendor.

Source: aimlapi/api-docs f14fa72 (fields, generation, errors) and its page "Generate Video" of 2025;
what langchain-aimlapi 0.1.3 and aimlapi-sdk-python 2.24 need. The latter drops the path of its base
address, so both paths are served at the root too.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import MAX_BODY, takes_up_to
from api.dialects.aimlapi_fields import OWN_NAMES, Wanted, wanted, wants_base64
from api.dialects.aimlapi_models import LEGACY, UNIVERSAL, Schema
from api.dialects.aimlapi_shapes import (
    AimlapiCreated,
    AimlapiError,
    AimlapiGeneration,
    AimlapiLegacyRequest,
    AimlapiRequest,
)
from api.dialects.dialect import Dialect
from api.dialects.fields import Fields, in_words_of, read_object
from api.dialects.ids import AsUuid
from api.dialects.inline import MOST_INLINE, in_base64
from api.dialects.submitting import ADAPTED, Submitted, read_own, submit, view_of
from api.dialects.words import StatusWords
from api.errors import STATUS, Renderer
from api.front import TenantRoute
from api.openapi import body_of, dialect_responses
from models.failure import RequestRefused
from models.records import Json
from tasks.view import iso

PREFIX: Final = "/aimlapi"
ROOT: Final = "/v2"
UNIVERSAL_PATH: Final = f"{ROOT}/video/generations"
#: A vendor may have a slash, as luma-ai/v2.
LEGACY_PATH: Final = ROOT + "/generate/video/{vendor:path}/generation"
#: In seconds: "URLs expire within 24-48 hours".
LINKS_LIVE: Final = 48 * 3600
#: "credits_used" 120000 corresponds to "usd_spent" 0.06 in the schema of luma/ray-3.2.
CREDITS_PER_DOLLAR: Final = 2_000_000
#: aimlapi-sdk-python ends its wait at any word but the first two.
WORDS: Final = StatusWords(
    {
        "pending": "queued",
        "processing": "generating",
        "complete": "completed",
        "failed": "error",
        "cancelled": "error",
    }
)
#: The document's sentences, which ours follow; a balance that is used up is its 403.
SENTENCES: Final = {
    "authentication_error": "This request requires a valid API key",
    "insufficient_balance": "You've run out of credits",
    "rate_limited": "Too Many Requests",
    "model_unavailable": "Service unavailable",
    "service_unavailable": "Service unavailable",
}
INVALID: Final = "Body validation error!"
#: Fields of a refusal that are not of the body.
_OUTSIDE_THE_BODY: Final = frozenset({"generation_id", "Idempotency-Key", "X-App-ID"})
_FORBIDDEN: Final = 403
_IDS: Final = AsUuid()

#: One that is not known is a path that does not exist: 404.
Vendor = Annotated[str, Path(json_schema_extra={"enum": list(LEGACY)})]

_routes = APIRouter(route_class=TenantRoute, tags=["AI/ML API"])


@_routes.post(
    UNIVERSAL_PATH,
    summary="Create a generation, as AI/ML API does",
    responses=dialect_responses(AimlapiError, {200: AimlapiCreated}, 400, 403, 413, 422, 429),
    openapi_extra=body_of(AimlapiRequest),
)
@takes_up_to(MAX_BODY)
async def create(request: Request) -> Response:
    """Accept a prompt as a job; what its model can't make becomes the nearest that it makes.

    The header `Longtake-Adapted` lists what was changed, as in `resolution=720p (asked 1080p)`.
    """
    body = await read_object(request)
    return await _created(request, wanted(Fields(body), UNIVERSAL), body=body, status=200)


@_routes.get(
    UNIVERSAL_PATH,
    summary="Read a generation, as AI/ML API shows it",
    responses=dialect_responses(AimlapiError, {200: AimlapiGeneration}, 400, 404),
)
async def read(request: Request, generation_id: str) -> Response:
    """The generation; its videos under links that live for 48 hours, or in base64."""
    return answer(await _generation(request, generation_id))


@_routes.post(
    LEGACY_PATH,
    status_code=201,
    summary="Create a generation on the older path of a vendor",
    responses=dialect_responses(AimlapiError, {201: AimlapiCreated}, 400, 403, 404, 413, 422, 429),
    openapi_extra=body_of(AimlapiLegacyRequest),
)
@takes_up_to(MAX_BODY)
async def create_legacy(request: Request, vendor: Vendor) -> Response:
    """As on the universal path, with the vendor's models and the fields of their own time."""
    models = _models(vendor)
    body = await read_object(request)
    asked = wanted(Fields(body), models, default_model=next(iter(models)))
    return await _created(request, asked, body=body, status=201)


@_routes.get(
    LEGACY_PATH,
    summary="Read a generation on the older path of a vendor",
    responses=dialect_responses(AimlapiError, {200: AimlapiGeneration}, 400, 404),
)
async def read_legacy(request: Request, vendor: Vendor, generation_id: str) -> Response:
    """As on the universal path; Runway's videos are a list of links."""
    _models(vendor)
    shown = await _generation(request, generation_id)
    if vendor == "runway" and shown.get("video"):
        shown["video"] = [_bare(video) for video in _listed(shown["video"])]
    return answer(shown)


router = APIRouter()
router.include_router(_routes, prefix=PREFIX)
router.include_router(_routes)


def _models(vendor: str) -> dict[str, Schema]:
    if vendor not in LEGACY:
        known = ", ".join(LEGACY)
        msg = f"no such vendor: {vendor[:64]}; known: {known}"
        raise RequestRefused(msg, type="not_found", code="no_such_vendor")
    return dict(LEGACY[vendor])


async def _created(request: Request, asked: Wanted, *, body: Any, status: int) -> Response:
    submitted = await submit(request, asked.fields, body=body)
    view = submitted.view
    shown = {"id": _IDS.of(view["id"]), "status": WORDS.of(view["status"])}
    return answer(shown, status=status, headers=_headers(submitted, asked))


def _headers(submitted: Submitted, asked: Wanted) -> dict[str, str]:
    headers = submitted.headers
    told = asked.told(headers.get(ADAPTED))
    return headers | ({ADAPTED: told} if told else {})


async def _generation(request: Request, generation_id: str) -> Json:
    job = await read_own(request, _IDS.job(generation_id))
    view = view_of(request, job, link_lives=LINKS_LIVE)
    status = WORDS.of(job.state)
    shown: Json = {"id": generation_id, "status": status}
    if status == "completed":
        shown |= {"video": await _video(request, view), "error": None, "meta": _meta(view)}
    elif status == "error":
        shown |= {"video": None, "error": _error(view), "meta": _meta(view)}
    return shown


async def _video(request: Request, view: Json) -> Json | list[Json] | None:
    """The job's only video, a list of several, or None once they are deleted."""
    outputs = [output for output in view["outputs"] if "url" in output]
    is_inline = wants_base64(view.get("metadata")) and (
        sum(output["bytes"] for output in outputs) <= MOST_INLINE
    )
    videos = []
    for output in outputs:
        if is_inline:
            made = {"b64_json": await in_base64(request, view["id"], output["index"])}
        else:
            made = {"url": output["url"]}
        videos.append({**made, "duration": output["duration_seconds"]})
    return videos[0] if len(videos) == 1 else videos or None


def _listed(video: Json | list[Json]) -> list[Json]:
    return video if isinstance(video, list) else [video]


def _bare(video: Json) -> Any:
    return video.get("url") or video["b64_json"]


def _meta(view: Json) -> Json:
    spent = view["cost_usd"]
    return {"usage": {"credits_used": round(spent * CREDITS_PER_DOLLAR), "usd_spent": spent}}


def _error(view: Json) -> Json:
    error = view.get("error") or {"code": view["status"], "message": "The generation failed"}
    is_moderated = error["code"] == "content_policy"
    why = "The prompt was rejected by content moderation: " if is_moderated else ""
    return {"name": error["code"], "message": why + error["message"]}


class AimlapiErrors:
    """`{message, path, requestId, statusCode, timestamp}`, for every error."""

    def __init__(self, path: str = ROOT) -> None:
        self.path = path

    def at(self, path: str) -> Renderer:
        """The renderer of a request's errors, which repeat its path."""
        return AimlapiErrors(path)

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:
        is_payment = refusal.type == "insufficient_balance"
        status = _FORBIDDEN if is_payment else int(STATUS[refusal.type])
        body = {
            "message": _message(refusal),
            "path": self.path,
            "requestId": request_id,
            "statusCode": status,
            "timestamp": iso(datetime.now(UTC)),
        }
        return answer(body, status=status)


def _message(refusal: RequestRefused) -> str:
    match refusal.type:
        case "invalid_request" if refusal.param not in _OUTSIDE_THE_BODY:
            return f"{INVALID} {in_words_of(OWN_NAMES, refusal).message}"
        case "not_found" if refusal.code in {"not_found", "job_deleted"} and not refusal.param:
            is_route = refusal.message.startswith("no such route")
            return refusal.message if is_route else "Generation not found"
        case "internal_error":
            return "Internal server error"
        case kind if kind in SENTENCES:
            return f"{SENTENCES[kind]}: {refusal.message}"
        case _:
            return refusal.message


AIMLAPI: Final = Dialect(prefixes=(PREFIX, ROOT), router=router, errors=AimlapiErrors())
