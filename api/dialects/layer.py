"""Layer's video API: one call, which stays open until its videos are done.

Sources: docs.uselayer.ai/sdk-reference/video; @layer-ai/sdk 2.5.15 and the server's /v3/video
route, both in div-dhingra/layer-ai.
"""

import re
import time
from base64 import b64decode
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import MAX_BODY, takes_up_to
from api.dialects.dialect import Dialect
from api.dialects.fields import Fields, in_words_of, read_object
from api.dialects.gated import gate_of, submit_through
from api.dialects.layer_shapes import LayerError, LayerRequest, LayerResponse
from api.dialects.open_call import OpenCall
from api.dialects.submitting import repeat_of
from api.errors import STATUS
from api.front import TenantRoute, front_of
from api.large_bodies import leave
from api.native.events import hold_place
from api.openapi import body_of, dialect_responses
from models.data_uris import picture_type
from models.failure import RequestRefused, not_found
from models.records import Json
from models.request import MAX_COUNT

PREFIX: Final = "/layer"
PATH: Final = "/layer/v3/video"
REFERENCE_TYPES: Final = ("subject", "style", "asset")
FORMATS: Final = ("url", "b64_json")
#: Ours by theirs reversed: the names in the errors of the native request.
NAMES: Final[Mapping[str, str]] = {
    "gate": "gateId",
    "prompt": "data.prompt",
    "duration_seconds": "data.duration",
    "size": "data.size",
    "fps": "data.fps",
    "count": "data.numberOfVideos",
    "negative_prompt": "data.negativePrompt",
    "image": "data.image",
    "last_image": "data.lastFrame",
    "reference_images": "data.referenceImages",
}
_SECONDS: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(?:\s*s)?")

router = APIRouter(route_class=TenantRoute, tags=["Layer"])


@router.post(
    PATH,
    summary="Make videos and wait for them, as Layer does",
    responses=dialect_responses(LayerError, {200: LayerResponse}, 400, 402, 404, 422, 429, 500),
    openapi_extra=body_of(LayerRequest),
    dependencies=[Depends(hold_place)],  # taken before anything is paid for
)
@takes_up_to(MAX_BODY)
async def create(request: Request) -> Response:
    """Accept a job, and answer when its videos are done; `X-Job-ID` names the job.

    A job that takes long is answered with 200 and white space before its JSON; if it then fails,
    the body ends without its end, so that a client's promise rejects. A client that hangs up
    cancels nothing.
    """
    began = time.perf_counter()
    job, headers, inline = await _accepted(request)
    await leave(request.scope)  # the call stays open for minutes, without its body
    call = OpenCall(request=request, job=job, headers=headers, began=began, inline=inline)
    return await call.answer()


async def _accepted(request: Request) -> tuple[str, dict[str, str], bool]:
    """The job's id, the response's headers, and whether it has the videos themselves.

    Raises:
        RequestRefused: in Layer's words.
    """
    body = Fields(await read_object(request))
    name = body.values.get("gateId")
    if not isinstance(name, str) or not name.strip():
        raise RequestRefused("Missing required field: gateId", param="gateId")
    try:
        gate = await _gate(request, name)
    except RequestRefused as refusal:  # a repeat is answered even if the gate was deleted since
        first = await repeat_of(request, refusal, body=body.values)
        job, headers = first.accepted.job_id, first.headers
    else:
        job, headers = await _submitted(request, gate, body)
    return job, headers, _is_inline(_data(body))


async def _submitted(request: Request, gate: Json, body: Fields) -> tuple[str, dict[str, str]]:
    """The job's id and the response's headers; raises RequestRefused in Layer's words."""
    data = _data(body)
    fields = _wanted(body, data)
    fields["deadline_seconds"] = front_of(request).engine.settings.layer_deadline_seconds
    _is_inline(data)  # a wrong format is refused before a job is made
    try:
        gated = await submit_through(request, gate, fields, body=body.values)
    except RequestRefused as refusal:
        raise in_words_of(NAMES, refusal) from None
    return gated.submitted.accepted.job_id, gated.headers


def _is_inline(data: Fields) -> bool:
    return data.one_of("responseFormat", FORMATS) == "b64_json"


async def _gate(request: Request, name: str) -> Json:
    try:
        return await gate_of(request, name)
    except RequestRefused as refusal:
        msg = f'Gate with ID "{name[:64]}" not found'
        raise RequestRefused(msg, type=refusal.type, code=refusal.code, param="gateId") from None


def _data(body: Fields) -> Fields:
    data = body.values.get("data")
    prompt = data.get("prompt") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(prompt, str) or not prompt.strip():
        msg = "Missing required field: data.prompt (must be a non-empty string)"
        raise RequestRefused(msg, param="data.prompt")
    return Fields(data, within="data")


def _wanted(body: Fields, data: Fields) -> Json:
    """The native request's fields; raises RequestRefused for what the document does not allow."""
    metadata = body.inner("metadata")
    people = data.text("personGeneration")
    last = data.inner("lastFrame")
    image = data.inner("image")
    return {
        "model": body.text("model") or None,
        "metadata": metadata and dict(metadata.values),
        "prompt": data.required_text("prompt"),
        "duration_seconds": _duration(data),
        "size": data.text("size"),
        "fps": _whole(data.positive("fps")),
        "seed": data.number("seed"),
        "negative_prompt": data.text("negativePrompt"),
        "count": data.whole("numberOfVideos", least=1, most=MAX_COUNT),
        "person_generation": people and people.lower(),
        "image": image and _picture(image),
        "last_image": last and _picture(last),
        "reference_images": [_reference(each) for each in data.objects("referenceImages")] or None,
    }


def _duration(data: Fields) -> float | None:
    """Seconds, as a number or as a string."""
    given = data.values.get("duration")
    if not isinstance(given, str):
        return data.positive("duration")
    if (match := _SECONDS.fullmatch(given.strip())) is None:
        data.refuse("duration", "must be a number of seconds")
    return Fields({"duration": float(match[1])}, within="data").positive("duration")


def _whole(value: float | None) -> float | None:
    """24.0 as 24: JSON has one number type."""
    return int(value) if value is not None and value == int(value) else value


def _reference(each: Fields) -> Json:
    kind = each.one_of("referenceType", REFERENCE_TYPES) or "asset"
    return {"image": _picture(each), "type": kind}


def _picture(picture: Fields) -> str:
    """A URL or a data URI; of both the URL."""
    if url := picture.text("url"):
        return url
    if not (given := picture.text("base64")):
        picture.refuse("url", "or base64 is required")
    if given.startswith("data:"):
        return given
    try:
        first = b64decode(given[:16], validate=True)
    except ValueError:
        picture.refuse("base64", "must be base64 or a data URI")
    return f"data:{picture_type(first) or 'image/jpeg'};base64,{given}"


class LayerErrors:
    """`{"error", "message"}` with the server's words, and ours for what it does not have."""

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:  # noqa: ARG002 - X-Request-ID has it
        match refusal.type:
            case "invalid_request" | "payload_too_large":
                return _error(400, "bad_request", refusal.message)
            case "authentication_error":
                return _error(401, "unauthorized", refusal.message)
            case "not_found":
                is_deleted = refusal.code == "job_deleted"
                message = not_found().message if is_deleted else refusal.message
                return _error(404, "not_found", message)
            case "internal_error":
                return _error(500, "internal_error", refusal.message)
            case kind:
                return _error(STATUS[kind], refusal.code, refusal.message)


def _error(status: int, kind: str, message: str) -> Response:
    return answer({"error": kind, "message": message}, status=status)


LAYER: Final = Dialect(prefixes=(PREFIX,), router=router, errors=LayerErrors())
