"""What operators see: the lanes of all work, with an admin's key."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.front import AdminRoute, front_of, in_time
from api.native.listing import read_limit
from api.native.ops_schemas import LaneList
from api.openapi import parameter, responses
from tasks.lanes import MOST_NAMED, NAMED, lane_view, read_lanes

router = APIRouter(route_class=AdminRoute, tags=["Operations"])

_LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST_NAMED, "default": NAMED}


@router.get(
    "/v1/ops/lanes",
    summary="Due work by queue and lane",
    responses=responses(200, LaneList, "Every kind of work, also where nothing is due", 400),
    openapi_extra={
        "parameters": [parameter("limit", "Receivers, and tenants, that are named", _LIMIT)]
    },
)
async def list_lanes(request: Request) -> Response:
    """What is due and in flight, how old the oldest is, and what holds a lane back.

    Accounts are named. Of receivers' hosts, and of tenants with pictures to fetch, the `limit`
    oldest are named, and the entry `*` is the sum of the others. It needs an admin key.
    """
    named = read_limit(request)
    found = await in_time(read_lanes(front_of(request).engine, named=named))
    return answer({"data": [lane_view(each) for each in found], "has_more": False, "next": None})
