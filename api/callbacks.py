"""Providers' callbacks: hints, at a URL known only to one attempt's provider."""

import math
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from api.admission import admitted
from api.body import content_length, read_body, takes_up_to
from api.front import front_of, in_time
from models.failure import not_found
from tasks.callbacks import Called, called, take

router = APIRouter(include_in_schema=False)

#: A body of any size is answered with 200; `_body` decides how much of it is read.
ANY_SIZE: Final = math.inf


class _TooLarge(Exception):
    """More bytes were received than are read."""


@router.post("/callbacks/{provider}/{token}")
@takes_up_to(ANY_SIZE)
async def called_back(request: Request, provider: str, token: str) -> Response:
    """Make the attempt's next poll due now; its state is polled, never read from the callback.

    Nothing of a body is read before its token is known to be right. 200, because Luma retries on
    any other status (docs.lumalabs.ai/docs/api, callbacks).
    """
    if not (provider.isprintable() and token.isprintable()):
        raise not_found("Callback address")
    front = front_of(request)
    let_in = admitted(request)

    async def look_up() -> Called:
        return await let_in.in_turn(lambda: called(front.engine, provider, token))

    call = await let_in.proved(lambda: in_time(look_up()))
    body = await _body(request, most=call.most)
    heard = await in_time(take(front.engine, call, headers=request.headers, body=body))
    if heard.reply is not None:
        return Response(heard.reply, media_type="application/json")
    front.hinter.nudge(heard.what, heard.lane)
    return Response(status_code=200)


async def _body(request: Request, *, most: int) -> bytes | None:
    """The body; None if it has more than `most` bytes, of which no more are read then."""
    if content_length(request.scope) > most:
        return None
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await request.receive()
        count += len(message.get("body", b""))
        if count > most:
            raise _TooLarge
        return message

    try:
        return await read_body(Request(request.scope, counted))
    except _TooLarge:
        return None
