"""What is read of an answer, piece by piece: under a size cap, a silence limit and a deadline."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from transport.base import Request, Response, Stream
from transport.departure import Departure


class Body:
    """An answer whose head is there and whose body is yet to come; a `Stream` for both clients."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        *,
        status: int,
        headers: Mapping[str, str],
        request: Request,
        departure: Departure,
        foreign: tuple[type[Exception], ...],
    ) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces
        self._request = request
        self._departure = departure
        self._foreign = foreign

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body; raises BadAnswer when it is cut off, stalls or passes `max_bytes`."""
        received = 0
        while piece := await self._next():
            received += len(piece)
            if max(received, self._declared_size()) > self._request.max_bytes:
                raise self._departure.spoiled(f"more than {self._request.max_bytes} bytes")
            yield piece

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._patience()):
                return await anext(self._pieces, b"")
        except TimeoutError:
            raise self._departure.spoiled("the answer stopped half-way") from None
        except self._foreign as error:
            raise self._departure.spoiled(f"cut off ({type(error).__name__})") from None

    def _patience(self) -> float:
        silence_ends = asyncio.get_running_loop().time() + self._request.read_timeout
        return min(silence_ends, self._departure.deadline or silence_ends)

    def _declared_size(self) -> int:
        declared = self.headers.get("content-length", "")
        return int(declared) if declared.isdecimal() else 0


async def whole(answer: Stream) -> Response:
    """The answer with all of its body."""
    content = b"".join([piece async for piece in answer.chunks()])
    return Response(status=answer.status, headers=answer.headers, content=content)
