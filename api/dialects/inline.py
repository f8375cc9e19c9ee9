"""Videos inside a JSON answer, in base64: for programs that ask for no link."""

import asyncio
from base64 import b64encode
from typing import Final

import structlog
from starlette.requests import Request

from api.errors import unavailable
from api.front import front_of, in_time, key_of
from models.failure import RequestRefused
from storage.base import NotStored, Unavailable
from tasks import jobs

log = structlog.get_logger()

#: Maximum bytes of the videos of one answer: all of them are in memory at once.
MOST_INLINE: Final = 32 * 2**20
#: Seconds in which storage must give a whole video.
READ_WITHIN: Final = 60.0


async def in_base64(request: Request, job_id: str, index: int) -> str:
    """A stored video of the key's tenant.

    Raises:
        RequestRefused: it is not stored, or storage does not answer.
    """
    front = front_of(request)
    video = await in_time(
        jobs.stored_output(front.engine, job_id, tenant=key_of(request).tenant, position=index)
    )
    content = bytearray()
    try:
        async with asyncio.timeout(READ_WITHIN):
            async for piece in front.engine.storage.read(video.key, end=video.bytes):
                content += piece
    except NotStored:
        log.error("content.missing", key=video.key)  # noqa: TRY400 - no traceback says more
        msg = "the video is no longer in storage"
        raise RequestRefused(msg, type="not_found", code="video_missing") from None
    except (Unavailable, TimeoutError) as error:
        log.error("content.unavailable", key=video.key, reason=str(error))  # noqa: TRY400 - as above
        msg = "the video store does not answer; try again"
        raise unavailable(msg, code="storage_away") from error
    return b64encode(content).decode()
