"""What is read of an answer: under a size cap, and piece by piece under a limit on silence."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from transport.base import Response
from transport.departure import Departure


class Body:
    """An answer whose head is there and whose body is yet to come; a `Stream` for both clients."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        *,
        status: int,
        headers: Mapping[str, str],
        departure: Departure,
        foreign: tuple[type[Exception], ...],
    ) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces
        self._departure = departure
        self._foreign = foreign
        self._size = 0

    async def whole(self) -> Response:
        """The answer with all of its body, within the departure's clock."""
        pieces = []
        while piece := await self._next():
            pieces.append(piece)
        return Response(status=self.status, headers=self.headers, content=b"".join(pieces))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body; raises BadAnswer when it is cut off, stalls or passes `max_bytes`.

        The clock runs while we wait for the far side, not while the caller works on a piece.
        """
        while True:
            try:
                async with asyncio.timeout_at(self._patience()):
                    piece = await self._next()
            except TimeoutError:
                raise self._departure.spoiled("stopped half-way") from None
            if not piece:
                return
            yield piece

    async def _next(self) -> bytes:
        try:
            piece = await anext(self._pieces, b"")
        except self._foreign as error:
            raise self._departure.spoiled(f"cut off or garbled ({type(error).__name__})") from None
        self._size += len(piece)
        if piece and max(self._size, self._declared_size()) > self._departure.request.max_bytes:
            raise self._departure.spoiled(f"more than {self._departure.request.max_bytes} bytes")
        return piece

    def _patience(self) -> float:
        silence_ends = asyncio.get_running_loop().time() + self._departure.request.read_timeout
        return min(silence_ends, self._departure.deadline)

    def _declared_size(self) -> int:
        declared = self.headers.get("content-length", "")
        return int(declared) if declared.isdecimal() else 0
