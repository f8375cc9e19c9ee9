"""Reads response bodies, whole or in chunks, under a size cap and a read timeout."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from transport.base import Response
from transport.progress import SendProgress


class Body:
    """A response whose headers have arrived; implements `Stream` for both clients."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        *,
        status: int,
        headers: Mapping[str, str],
        progress: SendProgress,
        library_errors: tuple[type[Exception], ...],
    ) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces
        self._progress = progress
        self._library_errors = library_errors
        self._size = 0

    async def whole(self) -> Response:
        """The response with its complete body, within the request's timeout."""
        pieces = []
        while piece := await self._next():
            pieces.append(piece)
        return Response(status=self.status, headers=self.headers, content=b"".join(pieces))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body; raises BadAnswer if it is cut off or stalls, TooLarge beyond `max_bytes`.

        The read timeout covers waiting for the server, not the caller's processing of a chunk.
        """
        while True:
            try:
                async with asyncio.timeout_at(self._read_deadline()):
                    piece = await self._next()
            except TimeoutError:
                raise self._progress.bad_answer("response body stalled") from None
            if not piece:
                return
            yield piece

    async def _next(self) -> bytes:
        try:
            piece = await anext(self._pieces, b"")
        except self._library_errors as error:
            raise self._progress.bad_answer(
                f"response cut off or corrupt ({type(error).__name__})"
            ) from None
        self._size += len(piece)
        if piece and max(self._size, self._declared_size()) > self._progress.request.max_bytes:
            raise self._progress.too_large()
        return piece

    def _read_deadline(self) -> float:
        read_timeout_at = asyncio.get_running_loop().time() + self._progress.request.read_timeout
        return min(read_timeout_at, self._progress.deadline)

    def _declared_size(self) -> int:
        declared = self.headers.get("content-length", "")
        return int(declared) if declared.isdecimal() else 0
