"""Fetches the picture behind a link, to a file: whoever serves it may be slow, or hang."""

from collections.abc import Mapping
from typing import BinaryIO

from storage.disk import on_disk
from tasks.engine import Engine
from tasks.pictures import BadPicture, PictureTrouble
from transport.base import Blocked, Request, Stream, TooLarge, TransportError

#: Maximum size of a picture behind a link, and the time that its download may take, in seconds.
MOST_BYTES = 20 * 2**20
SECONDS = 30.0
#: Statuses that tell nothing of the picture, beside those of a failing server.
_PASSING = frozenset({408, 425, 429})
_SERVER_ERROR = 500


async def fetch(engine: Engine, link: str, file: BinaryIO) -> str:
    """Write the picture to the file; returns its media type, `image/…`.

    Raises:
        BadPicture: the link leads to no picture, to too large a one or to a private address.
        PictureTrouble: there is no whole answer now.
    """
    request = Request(
        method="GET",
        url=link,
        headers={"accept": "image/*"},
        timeout=SECONDS,
        max_bytes=MOST_BYTES,
    )
    try:
        async with engine.guarded.stream(request) as answer:
            kind = _kind_of(answer)
            async for piece in answer.chunks():
                await on_disk(file.write, piece)
    except Blocked:
        raise BadPicture("a picture's address is not public") from None
    except TooLarge:
        msg = f"a picture's address returned more than {MOST_BYTES // 2**20} MB"
        raise BadPicture(msg) from None
    except TransportError as error:
        msg = f"a picture's address is unavailable: {type(error).__name__}"
        raise PictureTrouble(msg) from error
    return kind


def _kind_of(answer: Stream) -> str:
    """The media type of a picture; raises as `fetch`."""
    kind = _media_type(answer.headers)
    told = f"(HTTP {answer.status}, {kind or 'no type'})"
    if answer.status >= _SERVER_ERROR or answer.status in _PASSING:
        msg = f"a picture's address is unavailable {told}"
        raise PictureTrouble(msg)
    if not 200 <= answer.status < 300 or not kind.startswith("image/"):  # noqa: PLR2004 - success
        raise BadPicture(f"a picture's address returned no picture {told}")
    return kind


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()[:64]
