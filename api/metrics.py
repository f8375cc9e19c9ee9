"""`GET /metrics`: the gauges, for a scraper on this machine or one with an admin key."""

import ipaddress

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, identified, in_time, refuse_unless_admin
from api.openapi import failures
from metrics.text import CONTENT_TYPE_LATEST, of_numbers, written
from tasks.measures import numbers

router = APIRouter(tags=["Operations"])

#: Set by a proxy: the caller is not on this machine then, whatever the socket says.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@router.get(
    "/metrics",
    summary="Gauges for Prometheus",
    responses={
        200: {"description": "Prometheus' text format", "content": {"text/plain": {}}},
        401: failures()[401],
        503: failures()[503],
    },
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Depth and age of due work, jobs by state, attempts in doubt; this process's requests.

    No tenant's data.
    """
    front = front_of(request)
    if not _is_local(request):
        key = await identified(request, request.headers.get("authorization"))
        refuse_unless_admin(key, what="metrics")
    gauges = await in_time(front.metrics.read())
    own = front.numbers.text() + written(of_numbers(numbers))
    return Response(gauges + own, media_type=CONTENT_TYPE_LATEST)


def _is_local(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
