"""Providers' callbacks: hints, at an address that only one attempt's provider knows."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.body import read_body
from api.errors import not_found
from api.front import front_of, in_time
from tasks.callbacks import hear

router = APIRouter(include_in_schema=False)


@router.post("/callbacks/{provider}/{token}")
async def called_back(request: Request, provider: str, token: str) -> Response:
    """Make the attempt's next look due now; the truth is fetched, never taken from here.

    200, since Luma tries again after any other status (docs.lumalabs.ai/docs/api, callbacks).
    """
    if not (provider.isprintable() and token.isprintable()):
        raise not_found("Callback address")
    front = front_of(request)
    body = await read_body(request)
    heard = await in_time(hear(front.engine, provider, token, headers=request.headers, body=body))
    if heard.reply is not None:
        return Response(heard.reply, media_type="application/json")
    front.hinter.nudge(heard.what, heard.lane)
    return Response(status_code=200)
