"""Pictures of a stored video, its poster and its sheet of frames, made when first requested."""

from http import HTTPStatus
from typing import Final

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.errors import unavailable
from api.front import TenantRoute, front_of, in_time
from api.native.content import is_index
from api.native.ranges import names_etag
from api.native.tenants import any_or_own
from api.openapi import PICTURE, failures
from models.failure import RequestRefused, not_found
from storage.base import NotStored, StorageError
from tasks import jobs
from tasks.jobs import StoredVideo
from tasks.stills import Kind
from tasks.view import LINK_LIVES

log = structlog.get_logger()

router = APIRouter(route_class=TenantRoute, tags=["Video generations"])

#: Media type of the pictures.
JPEG: Final = "image/jpeg"


@router.get(
    "/v1/video/generations/{job_id}/poster/{index}",
    summary="Download a picture of one of the videos",
    responses=PICTURE | failures(404, 503),
)
async def poster(request: Request, job_id: str, index: str) -> Response:
    """The video's middle frame as a JPEG, made when first requested."""
    return await still_at(request, job_id, index, "poster")


@router.get(
    "/v1/video/generations/{job_id}/sheet/{index}",
    summary="Download a sheet of frames of one of the videos",
    responses=PICTURE | failures(404, 503),
)
async def sheet(request: Request, job_id: str, index: str) -> Response:
    """Up to eight frames from the start of the video to its end, in rows of four, as one JPEG."""
    return await still_at(request, job_id, index, "sheet")


async def still_at(request: Request, job_id: str, index: str, kind: Kind) -> Response:
    """A still of the video at `index` of a job that the request may read."""
    if not is_index(index):
        raise not_found("Video")
    return await still_answer(
        request, job_id, tenant=any_or_own(request), position=int(index), kind=kind
    )


async def still_answer(
    request: Request, job_id: str, *, tenant: str | None, position: int | None, kind: Kind
) -> Response:
    """A still of a job's stored video; see `jobs.stored_output`.

    Raises:
        RequestRefused: there is no such video, it has no stills, or the storage does not answer.
    """
    front = front_of(request)
    video = await in_time(
        jobs.stored_output(front.engine, job_id, tenant=tenant, position=position)
    )
    headers = _headers(video, kind)
    if names_etag(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(None, HTTPStatus.NOT_MODIFIED, headers=headers)
    try:
        content = await front.stills.content(video, kind)
    except NotStored:
        msg = "the video is no longer in storage"
        raise RequestRefused(msg, type="not_found", code="no_stills") from None
    except (StorageError, TimeoutError, OSError) as error:
        log.warning("stills.unavailable", job=video.job, reason=str(error) or "it took too long")
        msg = "the video can't be looked into now; try again"
        raise unavailable(msg, code="stills_away") from error
    return Response(content, headers=headers, media_type=JPEG)


def _headers(video: StoredVideo, kind: Kind) -> dict[str, str]:
    """Headers of a response that a browser may cache, as it caches the video."""
    return {
        "ETag": f'"{video.sha256}-{kind}"',
        "Cache-Control": f"private, max-age={LINK_LIVES}, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
