"""Lunos' video API: text to video with one model, as an operation that is pending until it ends.

Source: lunos.tech/docs/generative/video and @lunos/client 1.5.0. The document names no status
codes for its errors; ours follow from their meaning.
"""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import MAX_BODY, takes_up_to
from api.dialects.dialect import Dialect
from api.dialects.fields import Fields, read_object
from api.dialects.ids import Timed, number_of
from api.dialects.lunos_shapes import (
    LunosCompleted,
    LunosCreated,
    LunosError,
    LunosFailed,
    LunosPending,
    LunosRequest,
)
from api.dialects.submitting import read_own, submit, view_of
from api.dialects.words import StatusWords
from api.errors import STATUS
from api.front import TenantRoute
from api.native.listing import checked_text
from api.openapi import body_of, dialect_responses, parameter
from models.failure import RequestRefused, not_found
from models.records import Json

PREFIX: Final = "/lunos"
PATH: Final = "/lunos/v1/video/generations"
MODEL: Final = "google/veo-3.0-generate-preview"
RATIO: Final = "16:9"
FORMAT: Final = "mp4"
IDS: Final = Timed("video-op")
#: The client waits for `completed` or `failed`: Lunos has no word for a cancelled job.
WORDS: Final = StatusWords(
    {
        "pending": "pending",
        "processing": "pending",
        "complete": "completed",
        "failed": "failed",
        "cancelled": "failed",
    }
)
#: The document's sentences.
MISSING: Final = "Missing required fields: model and prompt"
NO_BALANCE: Final = "Insufficient balance"
NO_MODEL: Final = "Model not found"
NOT_STARTED: Final = "Failed to start video generation"
#: The document has none for an unknown operation.
NO_OPERATION: Final = "Operation not found"
#: Maximum characters of a `user` that is kept.
_LONGEST_USER: Final = 255

_APP: Final = parameter(
    "X-App-ID", "The app that usage is counted for", {"maxLength": 255}, place="header"
)

router = APIRouter(route_class=TenantRoute, tags=["Lunos"])


@router.post(
    PATH,
    summary="Start a video generation, as Lunos does",
    responses=dialect_responses(
        LunosError, {200: LunosCreated}, 400, 402, 404, 422, 429, unavailable=500
    ),
    openapi_extra={"parameters": [_APP]} | body_of(LunosRequest),
)
@takes_up_to(MAX_BODY)
async def create(request: Request) -> Response:
    """Accept a prompt as a job; what its model can't make becomes the nearest that it makes.

    The header `Longtake-Adapted` lists what was changed.
    """
    body = await read_object(request)
    fields = Fields(body)
    wanted = _wanted(fields)
    try:
        submitted = await submit(request, wanted, body=body, app_id=_app_id(fields))
    except RequestRefused as refusal:
        raise _in_its_words(refusal) from None
    job = submitted.view["id"]
    shown = {
        "id": IDS.of(job),
        "operation_name": f"operations/{MODEL.partition('/')[2]}/{number_of(job)}",
        "status": WORDS.of("pending"),
    }
    return answer(shown, headers=submitted.headers)


@router.get(
    PATH + "/{operation_id}",
    summary="Read a video generation, as Lunos shows it",
    responses=dialect_responses(
        LunosError, {200: LunosPending | LunosCompleted | LunosFailed}, 404, unavailable=500
    ),
    openapi_extra={"parameters": [_APP]},
)
async def read(request: Request, operation_id: str) -> Response:
    """The operation in the shape of its status."""
    job = await read_own(request, IDS.job(operation_id))
    view = view_of(request, job)
    shown = {"id": IDS.of(job.id), "status": WORDS.of(job.state)}
    match shown["status"]:
        case "completed":
            return answer(shown | {"video_url": view.get("video_url")})
        case "failed":
            return answer(shown | {"error": view.get("error_message") or "Video generation failed"})
        case _:
            return answer(shown)


def _wanted(fields: Fields) -> Json:
    """The native request's fields; raises RequestRefused for what the document does not allow."""
    model, prompt = (_filled(fields.values.get(name)) for name in ("model", "prompt"))
    if model is None or prompt is None:
        raise RequestRefused(MISSING)
    if model != MODEL:
        raise RequestRefused(NO_MODEL, type="not_found", code="model_not_found", param="model")
    fields.one_of("response_format", (FORMAT,))
    parameters = fields.inner("parameters") or Fields({})
    parameters.one_of("aspectRatio", (RATIO,))
    return {
        "model": model,
        "prompt": prompt,
        "aspect_ratio": RATIO,
        "negative_prompt": parameters.text("negativePrompt") or None,
        "metadata": _metadata(fields),
    }


def _in_its_words(refusal: RequestRefused) -> RequestRefused:
    """Another model may stand in for Lunos' own, whose limit the prompt's maximum then is not."""
    if refusal.param != "prompt":
        return refusal
    message = refusal.message.replace(f"for {MODEL} model", "for the model that makes it")
    return RequestRefused(message, type=refusal.type, code=refusal.code, param=refusal.param)


def _filled(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _metadata(fields: Fields) -> Json | None:
    """The client's `user`; the document does not have it, so a wrong one is ignored."""
    user = fields.values.get("user")
    is_kept = isinstance(user, str) and 1 <= len(user) <= _LONGEST_USER
    return {"user": user} if is_kept else None


def _app_id(fields: Fields) -> str | None:
    """The client's `appId`; its header X-App-ID goes before it."""
    app = fields.text("appId")
    return checked_text("appId", app) if app else None


class LunosErrors:
    """`{"error": "…"}`: the document's sentences where it has one, ours else."""

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:  # noqa: ARG002 - no place for it
        status, message = _status(refusal), _message(refusal)
        return answer({"error": message}, status=status)


def _status(refusal: RequestRefused) -> int:
    status = STATUS[refusal.type]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return HTTPStatus.BAD_REQUEST if refusal.type == "payload_too_large" else status


def _message(refusal: RequestRefused) -> str:
    if STATUS[refusal.type] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return NOT_STARTED
    if refusal.type == "insufficient_balance":
        return NO_BALANCE
    if refusal.code == "job_deleted" or refusal.message == not_found().message:
        return NO_OPERATION
    return refusal.message


LUNOS: Final = Dialect(prefixes=(PREFIX,), router=router, errors=LunosErrors())
