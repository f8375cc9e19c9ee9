"""Providers' callbacks: hints, at a URL known only to one attempt's provider."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.body import MAX_BODY, read_body, takes_up_to
from api.front import front_of, in_time
from models.failure import not_found
from tasks.callbacks import hear

router = APIRouter(include_in_schema=False)


@router.post("/callbacks/{provider}/{token}")
@takes_up_to(MAX_BODY)
async def called_back(request: Request, provider: str, token: str) -> Response:
    """Make the attempt's next poll due now; its state is polled, never read from the callback.

    200, because Luma retries on any other status (docs.lumalabs.ai/docs/api, callbacks).
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
