"""Imagineo's video API: runs that begin with a picture, or with the last frame of a run.

Source: the document of generateVideo, 1.11.0-beta. It names no paths, codes or headers: these are
ours, with what its document of images has (academy.imagineoai.com/en/api-reference).
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import MAX_BODY, takes_up_to
from api.dialects.dialect import Dialect
from api.dialects.fields import Fields, in_words_of, read_object
from api.dialects.gated import gate_of, submit_through
from api.dialects.ids import Prefixed
from api.dialects.imagineo_shapes import ImagineoError, ImagineoRequest, ImagineoRun
from api.dialects.submitting import read_own, submit, view_of
from api.dialects.words import StatusWords
from api.errors import STATUS
from api.front import TenantRoute, front_of
from api.openapi import body_of, dialect_responses
from models.failure import RequestRefused, not_found
from models.records import Json
from models.request import DEFAULT_MODEL
from models.webhook_secret import SECRET_PREFIX, webhook_secret
from tasks.pictures import NO_STORED_VIDEO
from webhooks.signing import secret_bytes

PREFIX: Final = "/imagineo"
PATH: Final = "/imagineo/v1/videos/generate"
RUNS: Final = "/imagineo/v1/runs/{run_id}"
#: The tenant's gate that chooses the model, and the model of a tenant without it.
GATE: Final = "imagineo"
MODEL: Final = DEFAULT_MODEL
#: The document's defaults, and what stands for a prompt that is not given.
RATIO: Final = "16:9"
SECONDS: Final = 3
PROMPT: Final = "Bring the picture to life with natural motion."
#: The document's rule, which is also the error.
ONE_PICTURE: Final = "Either image_url or source_run_id must be provided, but not both."
#: A shorter secret is accepted, with a warning; in bytes.
SHORT: Final = 16
WARNING: Final = "Longtake-Warning"
RUN: Final = Prefixed("run_")
#: Imagineo has no word for a cancelled run.
WORDS: Final = StatusWords(
    {
        "pending": "queued",
        "processing": "processing",
        "complete": "completed",
        "failed": "failed",
        "cancelled": "failed",
    }
)
#: Its names by those of the native request.
NAMES: Final[Mapping[str, str]] = {"duration_seconds": "duration", "image": "image_url"}
#: What a run's `input` repeats of the native view, by its own names.
_INPUT: Final[Mapping[str, str]] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "aspect_ratio": "aspect_ratio",
    "duration": "duration_seconds",
    "seed": "seed",
    "cfg_scale": "cfg_scale",
    "motion_bucket_id": "motion_bucket_id",
    "fps": "fps",
}


class KeyRoute(TenantRoute):
    """A route that takes the key also as `X-API-Key`, or without the word Bearer."""

    def authorization(self, request: Request) -> str | None:
        given = request.headers.get("authorization") or request.headers.get("x-api-key")
        return f"Bearer {given}" if given and " " not in given.strip() else given


router = APIRouter(route_class=KeyRoute, tags=["Imagineo"])


@router.post(
    PATH,
    summary="Begin a run, as Imagineo does",
    responses=dialect_responses(ImagineoError, {200: ImagineoRun}, 400, 402, 422, 429),
    openapi_extra=body_of(ImagineoRequest),
)
@takes_up_to(MAX_BODY)
async def generate(request: Request) -> Response:
    """Accept a run by the model of the tenant's gate `imagineo`, or by the default model.

    `Longtake-Adapted` lists what is made otherwise than it was asked for, and `Longtake-Warning`
    says that a webhook's secret is short or not used.
    """
    body = Fields(await read_object(request))
    is_pictureless = front_of(request).engine.settings.imagineo_text_to_video
    fields = _wanted(body, is_pictureless=is_pictureless)
    warnings = _warnings(body)
    try:
        view, headers = await _submitted(request, fields, body)
    except RequestRefused as refusal:
        raise _in_its_words(body, refusal) from None
    run = _run(view)
    run["input"] |= _pictures(body)
    told = {WARNING: "; ".join(warnings)} if warnings else {}
    return answer(run, headers=headers | told)


@router.get(
    RUNS,
    summary="Read a run, as Imagineo shows it",
    responses=dialect_responses(ImagineoError, {200: ImagineoRun}, 404),
)
async def read(request: Request, run_id: str) -> Response:
    """The run; a completed one has a fresh link to its video."""
    job = await read_own(request, RUN.job(run_id))
    return answer(_run(view_of(request, job)))


async def _submitted(request: Request, fields: Json, body: Fields) -> tuple[Json, dict[str, str]]:
    try:
        gate = await gate_of(request, GATE)
    except RequestRefused as refusal:
        if refusal.code != "gate_not_found":
            raise
        fields = {**fields, "model": MODEL}
        one = await submit(request, fields, body=body.values, event_fields=_event_fields)
        return one.view, one.headers
    gated = await submit_through(
        request, gate, fields, body=body.values, event_fields=_event_fields
    )
    return gated.submitted.view, gated.headers


def _event_fields(job_id: str) -> Json:
    return {"run_id": RUN.of(job_id)}


def _wanted(body: Fields, *, is_pictureless: bool) -> Json:
    """The native request's fields; raises RequestRefused for what the document does not allow."""
    image, source = body.text("image_url") or None, body.text("source_run_id") or None
    prompt = body.text("prompt")
    has_none = image is None and source is None
    if (image and source) or (has_none and not is_pictureless):
        raise RequestRefused(ONE_PICTURE, param="source_run_id" if source else "image_url")
    if has_none and not (prompt or "").strip():
        raise RequestRefused("prompt is required without a picture", param="prompt")
    motion, fps = body.number("motion_bucket_id"), body.positive("fps")
    url = body.text("webhook_url") or None
    return {
        "prompt": prompt if (prompt or "").strip() else PROMPT,
        "negative_prompt": body.text("negative_prompt") or None,
        "image": {"job_id": _source(source)} if source else image,
        "aspect_ratio": body.text("aspect_ratio") or RATIO,
        "duration_seconds": body.positive("duration") or SECONDS,
        "seed": body.number("seed"),
        "cfg_scale": body.number("cfg_scale"),
        "motion_bucket_id": _whole(motion),
        "fps": _whole(fps),
        "webhook_url": url,
        "webhook_secret": _secret(body) if url else None,
    }


def _source(run_id: str) -> str:
    try:
        return RUN.job(run_id)
    except RequestRefused:
        raise _no_such_source(run_id) from None


def _no_such_source(run_id: str) -> RequestRefused:
    msg = f"source_run_id refers to the run {run_id[:64]!r}, of which you have no finished video"
    return RequestRefused(msg, param="source_run_id")


def _whole(value: float | None) -> float | None:
    """24.0 as 24: JSON has one number type."""
    return int(value) if value is not None and value == int(value) else value


def _secret(body: Fields) -> str | None:
    """The secret as the native request takes it: any text that is no encoded key is its bytes."""
    secret = body.text("webhook_secret")
    if not secret:
        return None
    try:
        return webhook_secret(secret)
    except ValueError:
        is_by_chance = secret.startswith(SECRET_PREFIX)
        return SECRET_PREFIX + b64encode(secret.encode()).decode() if is_by_chance else secret


def _warnings(body: Fields) -> list[str]:
    secret = body.text("webhook_secret")
    if secret is None:
        return []
    if not secret:
        body.refuse("webhook_secret", "must not be empty")
    if not body.text("webhook_url"):
        return ["webhook_secret is not used without webhook_url"]
    if len(secret_bytes(_secret(body) or secret)) < SHORT:
        return [f"webhook_secret is shorter than {SHORT} bytes, so it may be guessed"]
    return []


def _in_its_words(body: Fields, refusal: RequestRefused) -> RequestRefused:
    source = body.text("source_run_id")
    if refusal.param != "image" or not source:
        return in_words_of(NAMES, refusal)
    if refusal.message.endswith(NO_STORED_VIDEO):
        return _no_such_source(source)
    return in_words_of({"image": "source_run_id"}, refusal)


def _run(view: Json) -> Json:
    """The run of a job; without a link where its video was deleted."""
    run: Json = {
        "run_id": RUN.of(view["id"]),
        "status": WORDS.of(view["status"]),
        "progress": view["progress_percent"],
        "input": {own: view[ours] for own, ours in _INPUT.items() if view.get(ours) is not None},
    }
    if "estimated_remaining_seconds" in view:
        run["estimated_time"] = view["estimated_remaining_seconds"]
    match run["status"]:
        case "completed":
            run["video_url"] = view.get("video_url")
        case "failed":
            error = view.get("error") or {}
            message = error.get("message") or "the run was cancelled"
            run["error"] = {"code": error.get("code", view["status"]), "message": message}
    return run


def _pictures(body: Fields) -> dict[str, Any]:
    """The picture as it was sent, unless it is the picture's own bytes."""
    sent = {name: body.text(name) for name in ("image_url", "source_run_id")}
    return {name: value for name, value in sent.items() if value and not value.startswith("data:")}


class ImagineoErrors:
    """`{"error": {"code", "message"}}`."""

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:  # noqa: ARG002 - X-Request-ID has it
        match refusal.type:
            case "invalid_request" | "payload_too_large":
                return _error(400, "invalid_parameter", refusal.message)
            case "authentication_error":
                return _error(401, "unauthorized", _WHO)
            case "not_found" if refusal.message.startswith("no such route"):
                return _error(404, "not_found", refusal.message)
            case "not_found":
                return _error(404, "not_found", not_found("Run").message)
            case kind:
                return _error(STATUS[kind], refusal.code, refusal.message)


_WHO: Final = (
    "a valid API key is required: send it as the header Authorization: Bearer lt_… or X-API-Key"
)


def _error(status: int, code: str, message: str) -> Response:
    return answer({"error": {"code": code, "message": message}}, status=status)


IMAGINEO: Final = Dialect(prefixes=(PREFIX,), router=router, errors=ImagineoErrors())
