"""Large request bodies: received into an unnamed temporary file, hashed on the way."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from starlette.requests import Request

from api.places import Places
from models.failure import RequestRefused

#: Bytes that are kept in memory before they are written.
_PIECE: Final = 2**20
#: Timeouts for a whole body, and for its next bytes, in seconds.
ARRIVES_WITHIN: Final = 900.0
_NEXT_WITHIN: Final = 30.0
#: Bodies that one process receives and works on at a time; of them, those of one tenant.
MOST_AT_ONCE: Final = 4
MOST_OF_TENANT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A body that has arrived whole."""

    file: BinaryIO = field(repr=False)
    sha256: bytes


class Spool:
    """The large bodies of one process: only so many at a time, so that its disk is bounded."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._places = Places(most, of_tenant=MOST_OF_TENANT)

    @asynccontextmanager
    async def receive(self, request: Request, *, tenant: str) -> AsyncIterator[Spooled]:
        """The request's body, until the end of the block.

        Raises:
            RequestRefused: too many others, or too many of the tenant, are received; or the body
                takes too long.
            ClientDisconnect: the connection was lost in the middle.
        """
        async with self._places.taken(tenant=tenant):
            with tempfile.TemporaryFile(prefix="longtake-body-") as file:
                yield Spooled(file=file, sha256=await _received(request, file))


async def _received(request: Request, file: BinaryIO) -> bytes:
    """Write the body into the file; returns its SHA-256."""
    digest, piece = hashlib.sha256(), bytearray()
    stream = aiter(request.stream())
    try:
        async with asyncio.timeout(ARRIVES_WITHIN):
            while True:
                async with asyncio.timeout(_NEXT_WITHIN):
                    received = await anext(stream, None)
                piece += received or b""
                if received is None or len(piece) >= _PIECE:
                    await asyncio.to_thread(_write, file, digest, bytes(piece))
                    piece.clear()
                if received is None:
                    return digest.digest()
    except TimeoutError:
        msg = (
            f"the request body did not arrive: its next bytes within {_NEXT_WITHIN:.0f} s, all "
            f"within {ARRIVES_WITHIN:.0f} s"
        )
        raise RequestRefused(msg, code="body_timeout") from None


def _write(file: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    file.write(piece)
