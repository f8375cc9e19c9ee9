"""Pictures of a stored video for its job's page, as served by the API."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.native.stills import still_at
from api.pages.visits import ROOT, PageRoute

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(f"{ROOT}/jobs/{{job_id}}/videos/{{position}}/poster")
async def poster(request: Request, job_id: str, position: str) -> Response:
    """The video's middle frame, as a JPEG."""
    return await still_at(request, job_id, position, "poster")


@router.get(f"{ROOT}/jobs/{{job_id}}/videos/{{position}}/sheet")
async def sheet(request: Request, job_id: str, position: str) -> Response:
    """Frames from the start of the video to its end, as one JPEG."""
    return await still_at(request, job_id, position, "sheet")
