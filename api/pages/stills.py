"""Pictures of a stored video for its job's page, as the API gives them."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.native.stills import still_at
from api.pages.visits import ROOT, PageRoute

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(f"{ROOT}/jobs/{{job_id}}/videos/{{position}}/poster")
async def poster(request: Request, job_id: str, position: str) -> Response:
    """A frame of the video's middle, as a JPEG."""
    return await still_at(request, job_id, position, "poster")


@router.get(f"{ROOT}/jobs/{{job_id}}/videos/{{position}}/sheet")
async def sheet(request: Request, job_id: str, position: str) -> Response:
    """Frames from the video's beginning to its end, as one JPEG."""
    return await still_at(request, job_id, position, "sheet")
