"""The OpenAI Videos API, which gateways still serve: JSON and forms in, Sora's names and sizes.

Source: the types and behaviour of openai 3.52.0. OpenAI itself retired the API on 2026-09-24.
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.body import MAX_BODY, discard_body, off_loop, takes_up_to
from api.dialects.dialect import Dialect
from api.dialects.fields import Fields, read_object
from api.dialects.forms import Upload, is_form, read_form
from api.dialects.ids import PrefixedOrWhole
from api.dialects.openai_errors import OpenAIErrors
from api.dialects.openai_shapes import (
    CREATE,
    OpenAIDeleted,
    OpenAIError,
    OpenAIVideo,
    OpenAIVideos,
)
from api.dialects.submitting import read_own, submit, view_of
from api.dialects.words import StatusWords
from api.front import TenantRoute, front_of, in_time, key_of
from api.native.content import stored_answer
from api.native.stills import still_answer
from api.openapi import VIDEO_OR_PICTURE, dialect_responses, parameter
from models.failure import RequestRefused
from models.records import Json
from tasks import jobs
from tasks.deletion import delete as delete_job
from tasks.engine import Engine
from tasks.listing import Filter, list_own
from tasks.stills import Kind
from tasks.view import ShownJob

PATH: Final = "/v1/videos"
#: The same paths again, for a base address like those of the other systems.
PREFIX: Final = "/openai"
IDS: Final = PrefixedOrWhole("video_")
SORA: Final = (
    *("sora-2", "sora-2-pro", "sora-2-2025-10-06", "sora-2-pro-2025-10-06"),
    "sora-2-2025-12-08",
)
SECONDS: Final = (4, 8, 12)
SIZES: Final = ("720x1280", "1280x720", "1024x1792", "1792x1024")
DEFAULT_MODEL: Final = "sora-2"
#: Longest video that the native request allows, in seconds.
LONGEST: Final = 600
#: The downloadable variants of a video, and the still that serves each.
VARIANTS: Final[Mapping[str, Kind | None]] = {
    "video": None,
    "thumbnail": "poster",
    "spritesheet": "sheet",
}
ORDERS: Final = ("desc", "asc")
DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
#: How often a page reads on behind jobs that it does not show, such as deleted ones.
_WALKS: Final = 100
#: The API has no word for a cancelled job.
WORDS: Final = StatusWords(
    {
        "pending": "queued",
        "processing": "in_progress",
        "complete": "completed",
        "failed": "failed",
        "cancelled": "failed",
    }
)
#: When to ask again, in milliseconds; the SDK keeps the first one and asks each second without.
POLL_AFTER: Final = {"openai-poll-after-ms": "2000"}
#: What the operations that need a video as their input would take.
NO_VIDEO_IN: Final = "no model of the catalogue takes a video; POST /v1/videos makes a new one"

router = APIRouter()
_routes = APIRouter(route_class=TenantRoute, tags=["OpenAI"])


@_routes.post(
    PATH,
    summary="Create a video, as the OpenAI Videos API does",
    responses=dialect_responses(OpenAIError, {200: OpenAIVideo}, 400, 422, 429),
    openapi_extra=CREATE,
)
@takes_up_to(MAX_BODY)
async def create(request: Request) -> Response:
    """Accept a prompt as a job; what its model can't make becomes the nearest that it makes.

    The header `Longtake-Adapted` lists what was changed, as in `size=720x1280 (asked 1024x1792)`.
    """
    is_file = is_form(request)
    if is_file:
        body = await off_loop(request, _pictured, await read_form(request))
    else:
        body = await read_object(request)
    submitted = await submit(request, native_fields(body), body=body)
    shown = _video(submitted.view, keep_days=_keep_days(request))
    return answer(shown, headers=POLL_AFTER | submitted.headers)


@_routes.get(
    PATH,
    summary="List videos, as the OpenAI Videos API does",
    responses=dialect_responses(OpenAIError, {200: OpenAIVideos}, 400, 404),
    openapi_extra={
        "parameters": [
            parameter("after", "`last_id` from the previous page"),
            parameter(
                "limit",
                "Videos a page",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            ),
            parameter("order", "By time", {"enum": list(ORDERS), "default": ORDERS[0]}),
        ]
    },
)
async def list_videos(request: Request) -> Response:
    """The jobs of the key's tenant, also those of other APIs."""
    query = Fields(request.query_params)
    limit = _limit(query)
    after = await _after(request, query)
    wanted = Filter(
        tenant=key_of(request).tenant, oldest_first=query.one_of("order", ORDERS) == "asc"
    )
    found = await in_time(_found(front_of(request).engine, wanted, most=limit + 1, after=after))
    days = _keep_days(request)
    shown = [_video(view_of(request, job), keep_days=days) for job in found[:limit]]
    return answer(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": len(found) > limit,
        }
    )


async def _found(engine: Engine, wanted: Filter, *, most: int, after: str | None) -> list[ShownJob]:
    """Up to `most` jobs: this API's pages have no other way to say that more follow."""
    found: list[ShownJob] = []
    for _ in range(_WALKS):
        listed = await list_own(engine, wanted, limit=most - len(found), after=after)
        found += listed.jobs
        after = listed.walked_to
        if after is None:
            break
    return found


@_routes.get(
    PATH + "/{video_id}",
    summary="Retrieve a video, as the OpenAI Videos API shows it",
    responses=dialect_responses(OpenAIError, {200: OpenAIVideo}, 404),
)
async def retrieve(request: Request, video_id: str) -> Response:
    """The job; `openai-poll-after-ms` says when to ask again for one that is not final."""
    view = view_of(request, await read_own(request, IDS.job(video_id)))
    shown = _video(view, keep_days=_keep_days(request))
    is_final = shown["status"] in {"completed", "failed"}
    return answer(shown, headers={} if is_final else POLL_AFTER)


@_routes.delete(
    PATH + "/{video_id}",
    summary="Delete a video, as the OpenAI Videos API does",
    responses=dialect_responses(OpenAIError, {200: OpenAIDeleted}, 404),
)
async def delete(request: Request, video_id: str) -> Response:
    """Delete a job and its videos; one that is not final is cancelled first."""
    front, job = front_of(request), IDS.job(video_id)
    _, hints = await in_time(delete_job(front.engine, job, tenant=key_of(request).tenant))
    front.send(hints)
    return answer({"id": IDS.of(job), "object": "video.deleted", "deleted": True})


@_routes.get(
    PATH + "/{video_id}/content",
    summary="Download a video, as the OpenAI Videos API does",
    responses=VIDEO_OR_PICTURE | dialect_responses(OpenAIError, {}, 400, 404, 416, 503),
    openapi_extra={
        "parameters": [parameter("variant", "`video` unless it is set", {"enum": list(VARIANTS)})]
    },
)
async def download_content(request: Request, video_id: str) -> Response:
    """The job's first stored video, or a JPEG: its middle frame, or a sheet of its frames.

    A video takes `Range` and `If-Range`; all variants take `If-None-Match`.
    """
    still = VARIANTS[Fields(request.query_params).one_of("variant", tuple(VARIANTS)) or "video"]
    tenant, job = key_of(request).tenant, IDS.job(video_id)
    if still is not None:
        return await still_answer(request, job, tenant=tenant, position=None, kind=still)
    return await stored_answer(request, job, tenant=tenant, position=None)


@_routes.post(PATH + "/{video_id}/remix", include_in_schema=False)
@_routes.post(PATH + "/edits", include_in_schema=False)
@_routes.post(PATH + "/extensions", include_in_schema=False)
@_routes.post(PATH + "/characters", include_in_schema=False)
@_routes.get(PATH + "/characters/{character_id}", include_in_schema=False)
@takes_up_to(MAX_BODY)
async def unsupported(request: Request) -> Response:
    """What the SDK has beside these and needs a video as its input."""
    await discard_body(request)  # else a client that still sends would not read the answer
    what = request.url.path.rpartition("/")[2] if request.method == "POST" else "characters"
    msg = f"{what} is not supported: {NO_VIDEO_IN}"
    raise RequestRefused(msg, code="not_supported")


router.include_router(_routes)
router.include_router(_routes, prefix=PREFIX, include_in_schema=False)


def native_fields(body: Mapping[str, Any]) -> Json:
    """The native request's fields; raises RequestRefused for what the API does not allow."""
    return with_defaults(given_fields(body))


def with_defaults(fields: Json) -> Json:
    """The fields, with the API's own defaults for those that are not set; a gate has its own."""
    given = {name: value for name, value in fields.items() if value is not None}
    if "gate" in given:
        return given
    frame = {} if given.keys() & {"size", "resolution", "aspect_ratio"} else {"size": SIZES[0]}
    return {"model": DEFAULT_MODEL, "duration_seconds": SECONDS[0], **frame, **given}


def given_fields(body: Mapping[str, Any]) -> Json:
    """The native request's fields that the body sets, None for others; raises RequestRefused."""
    fields = Fields(body)
    prompt = fields.required_text("prompt")
    model = fields.text("model") or None
    is_sora = (model or DEFAULT_MODEL) in SORA
    size = fields.one_of("size", SIZES) if is_sora else fields.text("size")
    return {
        "prompt": prompt,
        "model": model,
        "duration_seconds": _seconds(fields, allowed=SECONDS if is_sora else ()),
        "size": size or None,
        "image": _image(fields),
    }


def _seconds(fields: Fields, *, allowed: tuple[int, ...]) -> int | None:
    """`seconds`, a number as a string; a number itself is taken as well."""
    given = fields.values.get("seconds")
    if given is None:
        return None
    number = _whole(given) if isinstance(given, str) else fields.number("seconds") or 0
    if allowed and number not in allowed:
        fields.refuse("seconds", f"must be one of {', '.join(map(str, allowed))}")
    if not 1 <= number <= LONGEST or number != int(number):
        fields.refuse("seconds", f"must be a whole number from 1 to {LONGEST}")
    return int(number)


def _whole(text: str) -> int:
    """The number, or 0 for what is none that could be allowed."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= len("600") else 0


def _image(fields: Fields) -> str | None:
    reference = fields.inner("input_reference")
    if reference is None:
        return None
    if reference.values.get("file_id") is not None:
        reference.refuse("file_id", "is not supported: send the picture itself, or its image_url")
    return reference.required_text("image_url")


def _pictured(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """The form as JSON would have it: its file is a data URI."""
    uploads = [name for name, value in form.items() if isinstance(value, Upload)]
    if wrong := [name for name in uploads if name != "input_reference"]:
        msg = f"{wrong[0][:64]} must not be a file"
        raise RequestRefused(msg, param=wrong[0][:64])
    file = form.get("input_reference")
    if not isinstance(file, Upload):
        return form
    kind = _picture_kind(file.content)
    if kind is None:
        msg = "input_reference must be a JPEG, PNG or WebP file"
        raise RequestRefused(msg, param="input_reference")
    uri = f"data:{kind};base64,{b64encode(file.content).decode()}"
    return {**form, "input_reference": {"image_url": uri}}


def _picture_kind(content: bytes) -> str | None:
    """The type by the first bytes: the SDK sends plain bytes without their type."""
    match content[:12]:
        case head if head.startswith(b"\xff\xd8\xff"):
            return "image/jpeg"
        case head if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return "image/png"
        case head if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
            return "image/webp"
        case _:
            return None


def _limit(query: Fields) -> int:
    text = query.values.get("limit", str(DEFAULT_LIMIT))
    is_number = text.isascii() and text.isdecimal() and len(text) <= len("100")
    if not is_number or not 1 <= int(text) <= MAX_LIMIT:
        query.refuse("limit", f"must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


async def _after(request: Request, query: Fields) -> str | None:
    """The job that the page follows, maybe deleted since; raises RequestRefused (`not_found`)."""
    after = query.values.get("after")
    if after is None:
        return None
    if not after or not after.isprintable():
        query.refuse("after", "must be the id of a video")
    job, tenant = IDS.job(after), key_of(request).tenant
    await in_time(
        front_of(request).engine.database.run(
            lambda connection: jobs.own_or_deleted_job(connection, job, tenant=tenant)
        )
    )
    return job


def _keep_days(request: Request) -> int | None:
    return front_of(request).engine.settings.keep_videos_days


def _video(view: Json, *, keep_days: int | None) -> Json:
    """The native view of a job as a Video; it states what is delivered."""
    status = WORDS.of(view["status"])
    completed_at = view["finished_at"] if status == "completed" else None
    lives = timedelta(days=keep_days) if keep_days else None
    return {
        "id": IDS.of(view["id"]),
        "object": "video",
        "model": view["model"],
        "status": status,
        "progress": view["progress_percent"],
        "prompt": view["prompt"],
        "created_at": _unix(view["created_at"]),
        "completed_at": _unix(completed_at),
        "expires_at": _unix(completed_at, after=lives) if lives else None,
        "seconds": str(view["duration_seconds"]),
        "size": view["size"],
        "error": _error(view) if status == "failed" else None,
        "remixed_from_video_id": None,
    }


def _unix(moment: str | None, *, after: timedelta = timedelta()) -> int | None:
    return int((datetime.fromisoformat(moment) + after).timestamp()) if moment else None


def _error(view: Json) -> Json:
    error = view.get("error") or {}
    code = error.get("code") or "video_generation_failed"
    return {
        "code": "moderation_blocked" if code == "content_policy" else code,
        "message": error.get("message") or "Video generation failed",
    }


OPENAI_VIDEOS: Final = Dialect(prefixes=(PATH, PREFIX), router=router, errors=OpenAIErrors())
