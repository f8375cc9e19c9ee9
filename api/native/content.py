"""The videos themselves, streamed with ranges to their owner or to the bearer of a link."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

import structlog
from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.admission import admitted
from api.errors import error_answer, unavailable
from api.front import front_of, identified, in_time
from api.native.ranges import Span, Unsatisfiable, names_etag, still_is, wanted_span
from api.openapi import VIDEO, failures
from models.failure import RequestRefused, not_found
from storage.base import NotStored, Storage, Unavailable
from storage.links import check_link
from tasks import jobs
from tasks.jobs import StoredVideo
from tasks.view import LINK_LIVES, content_path

log = structlog.get_logger()

router = APIRouter(tags=["Video generations"])

#: Seconds in which a client must take a piece of up to 2 MiB: a stalled one holds memory.
TAKES_WITHIN = 60.0
#: Seconds in which storage must give its first piece.
BEGINS_WITHIN = 30.0

_INDEX = re.compile(r"0|[1-9][0-9]{0,3}", re.ASCII)


class VideoAnswer(Response):
    """A part of a video, or all of it, sent piece by piece as the client takes it."""

    def __init__(
        self, pieces: AsyncIterator[bytes], *, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(None, status, headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        start = {"type": "http.response.start", "status": self.status_code}
        await send(start | {"headers": self.raw_headers})
        # The server drops what is sent to a client that left: nothing but `receive` tells.
        left = asyncio.create_task(_until_left(receive))
        try:
            async for piece in self._pieces:
                if left.done():
                    raise ClientDisconnect
                async with asyncio.timeout(TAKES_WITHIN):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            raise ClientDisconnect from None
        finally:
            left.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get(
    "/v1/video/generations/{job_id}/content",
    summary="Download the first video",
    responses=VIDEO | failures(404, 416),
)
async def first_content(request: Request, job_id: str) -> Response:
    """The job's first stored video; takes `Range`, `If-Range` and `If-None-Match`."""
    return await _content(request, content_path(job_id), job_id, position=None)


@router.get(
    "/v1/video/generations/{job_id}/content/{index}",
    summary="Download one of the videos",
    responses=VIDEO | failures(404, 416),
)
async def content(request: Request, job_id: str, index: str) -> Response:
    """The video at `index` of the job's outputs: what `video_url` and `outputs[].url` point to."""
    if not is_index(index):
        raise not_found("Video")
    return await _content(request, f"{content_path(job_id)}/{index}", job_id, position=int(index))


def is_index(text: str) -> bool:
    """Whether a path segment is the number of a video."""
    return _INDEX.fullmatch(text) is not None


async def _content(request: Request, path: str, job_id: str, *, position: int | None) -> Response:
    tenant = await _tenant(request, path)
    return await stored_answer(request, job_id, tenant=tenant, position=position)


async def stored_answer(
    request: Request, job_id: str, *, tenant: str | None, position: int | None
) -> Response:
    """A job's stored video, as far as the request's Range asks for it; see `jobs.stored_output`."""
    front = front_of(request)
    video = await in_time(
        jobs.stored_output(front.engine, job_id, tenant=tenant, position=position)
    )
    return await _answer(request, video, front.engine.storage)


async def _tenant(request: Request, path: str) -> str | None:
    """Whose videos may be read: None is anyone's, by this one's link or an admin's key.

    Raises:
        RequestRefused: neither a valid link nor a valid key.
    """
    front = front_of(request)
    if check_link(front.engine.vault.link_keys, path, request.url.query, now=time.time()):
        admitted(request).known()
        return None
    authorization = request.headers.get("authorization")
    if authorization is None and "signature" in request.query_params:
        msg = "the link has expired or is not one of ours; read the job again for a fresh one"
        raise RequestRefused(msg, type="authentication_error", code="link_expired")
    key = await identified(request, authorization)
    return None if key.is_admin else key.tenant


async def _answer(request: Request, video: StoredVideo, storage: Storage) -> Response:
    size, etag = video.bytes, f'"{video.sha256}"'
    headers = _headers(video, etag)
    if names_etag(request.headers.get("if-none-match"), etag):
        return Response(None, HTTPStatus.NOT_MODIFIED, headers=headers)
    span = None
    if still_is(request.headers.get("if-range"), etag):
        try:
            span = wanted_span(request.headers.get("range"), size=size)
        except Unsatisfiable:
            return _unsatisfiable(request, size)
    status = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK
    if span:
        headers["Content-Range"] = span.content_range(size)
    span = span or Span(0, size)
    headers["Content-Length"] = str(span.end - span.start)
    pieces = await _begun(storage, video.key, span)
    return VideoAnswer(pieces, status=status, headers=headers)


def _headers(video: StoredVideo, etag: str) -> dict[str, str]:
    extension = "webm" if video.content_type == "video/webm" else "mp4"
    name = f"{video.job}-{video.position}.{extension}"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return {
        "Content-Type": video.content_type,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{plain}"',
        "Cache-Control": f"private, max-age={LINK_LIVES}, immutable",
        "X-Content-Type-Options": "nosniff",
    }


def _unsatisfiable(request: Request, size: int) -> Response:
    refusal = RequestRefused(
        f"Range begins past the video's last byte; it has {size} bytes",
        type="range_not_satisfiable",
        param="Range",
    )
    return error_answer(refusal, request.scope, headers={"Content-Range": f"bytes */{size}"})


async def _begun(storage: Storage, key: str, span: Span) -> AsyncIterator[bytes]:
    """The bytes, once the first of them are there: until then an error can still be told.

    Raises:
        RequestRefused: the object is missing, or storage does not answer.
    """
    pieces = storage.read(key, start=span.start, end=span.end)
    try:
        async with asyncio.timeout(BEGINS_WITHIN):
            first = await anext(pieces)
    except (NotStored, StopAsyncIteration):
        log.error("content.missing", key=key)  # noqa: TRY400 - no traceback says more
        msg = "the video is no longer in storage"
        raise RequestRefused(msg, type="not_found", code="video_missing") from None
    except (Unavailable, TimeoutError) as error:
        log.error("content.unavailable", key=key, reason=str(error))  # noqa: TRY400 - as above
        msg = "the video store does not answer; try again"
        raise unavailable(msg, code="storage_away") from error
    return _rest(first, pieces)


async def _rest(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece
