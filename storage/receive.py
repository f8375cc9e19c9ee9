"""A download on its way in: streamed to a temporary file, capped, counted and hashed.

What is cut off may be kept, and gone on with at the next try: see `storage.parts`.
"""

import asyncio
import errno
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from storage import parts
from storage.base import StorageFull, TooBig, Truncated
from storage.parts import Keep, Part

#: Bytes gathered before a thread is asked to hash and write them: large enough that the hand-over
#: costs nothing, small enough for hundreds of downloads at once.
PIECE = 2**20
#: A file that no download has written to for so long was left by a killed process, or is a part
#: that nobody went on with. It exceeds the longest download, or a living one would lose its file.
ABANDONED_AFTER = timedelta(hours=2)

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A whole download in a temporary file."""

    path: Path
    bytes: int
    #: Lower-case hexadecimal.
    sha256: str


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class _Incoming:
    """A download's file, the digest of what it holds, and the bytes that wait to be written."""

    path: Path
    digest: _Digest
    #: Bytes that came, those of the part that it goes on from included.
    total: int = 0
    _gathered: bytearray = field(default_factory=bytearray)
    _writing: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self._gathered += chunk
        if len(self._gathered) >= PIECE:
            await self.flush()

    async def flush(self) -> None:
        piece = bytes(self._gathered)
        self._gathered.clear()
        self._writing = asyncio.ensure_future(
            asyncio.to_thread(_append, self.path, piece, self.digest)
        )
        await asyncio.shield(self._writing)  # the thread goes on anyway, and `settle` waits for it

    async def settle(self) -> None:
        """Bring what came to the file, also after the download was cancelled.

        Raises:
            StorageFull: the temporary folder's disk is full.
        """
        if self._writing is not None:
            await self._writing
        await self.flush()


@asynccontextmanager
async def receive(
    chunks: AsyncIterator[bytes],
    *,
    into: Path,
    max_bytes: int,
    expected_bytes: int | None = None,
    part: Part | None = None,
    keep: Keep | None = None,
) -> AsyncIterator[Received]:
    """Stream `chunks` into a file of `into`, which is gone when the block is left, however it is.

    `expected_bytes` is what the sender announced for the whole: see `announced_bytes`. With `part`
    the chunks are what follows on it. With `keep` a download that is cut off, cancelled too, leaves
    its part for the next try. The network's own errors pass through unchanged, and a stream that
    stops must be ended by its client's time-out.

    Raises:
        TooBig: more than `max_bytes` came, or were announced.
        Truncated: the stream ended before or after the announced size, or held nothing; or the part
            is gone.
        StorageFull: the temporary folder's disk is full.
    """
    if expected_bytes is not None and expected_bytes > max_bytes:
        raise TooBig(_too_big(max_bytes, announced=expected_bytes))
    incoming = await _begun(into, part)
    try:
        try:
            await _fill(incoming, chunks, max_bytes=max_bytes, expected_bytes=expected_bytes)
        except BaseException as error:
            if keep is not None and not isinstance(error, TooBig | StorageFull):
                await _keep(incoming, into, keep)
            raise
        sha256 = incoming.digest.hexdigest()
        yield Received(path=incoming.path, bytes=incoming.total, sha256=sha256)
    finally:
        incoming.path.unlink(missing_ok=True)


def announced_bytes(headers: Mapping[str, str]) -> int | None:
    """The body's size as an answer's lower-case headers tell it, or None when they don't.

    The length of an encoded body says nothing about the bytes that come out of decoding.
    """
    length = headers.get("content-length", "")
    encoded = headers.get("content-encoding", "identity") != "identity"
    return None if encoded or not (length.isascii() and length.isdigit()) else int(length)


def remove_abandoned(directory: Path, *, older_than: timedelta) -> int:
    """Delete what downloads left and nobody went on with; the number of files deleted.

    `older_than` must exceed the longest download, or a living one loses its file.
    """
    oldest = time.time() - older_than.total_seconds()
    abandoned = [file for file in directory.glob(f"{parts.PREFIX}*") if _written(file) < oldest]
    for file in abandoned:
        file.unlink(missing_ok=True)
    return len(abandoned)


async def _begun(into: Path, part: Part | None) -> _Incoming:
    """A new file, or one that goes on from `part`, whose bytes are hashed anew."""

    def begin() -> _Incoming:
        incoming = _Incoming(_new_file(into), hashlib.sha256())
        if part is None:
            return incoming
        try:
            parts.take(part, incoming.path)
            with incoming.path.open("rb") as file:
                while piece := file.read(PIECE):
                    incoming.digest.update(piece)
        except BaseException:
            incoming.path.unlink(missing_ok=True)
            raise
        incoming.total = part.bytes
        return incoming

    return await asyncio.to_thread(begin)


async def _fill(
    incoming: _Incoming,
    chunks: AsyncIterator[bytes],
    *,
    max_bytes: int,
    expected_bytes: int | None,
) -> None:
    async for chunk in chunks:
        if incoming.total + len(chunk) > max_bytes:
            raise TooBig(_too_big(max_bytes))
        await incoming.add(chunk)
    if expected_bytes is not None and incoming.total != expected_bytes:
        msg = f"{incoming.total:,} of {expected_bytes:,} bytes came"
        raise Truncated(msg)
    if incoming.total == 0:
        msg = "the download is empty"
        raise Truncated(msg)
    await incoming.flush()


async def _keep(incoming: _Incoming, into: Path, how: Keep) -> None:
    """Leave what came as a part, and remove the parts that nobody went on with."""
    total = how.origin.total
    if incoming.total == 0 or (total is not None and incoming.total >= total):
        return

    def keep() -> None:
        parts.keep(incoming.path, into, how)
        remove_abandoned(into, older_than=ABANDONED_AFTER)

    try:
        await incoming.settle()
        await asyncio.to_thread(keep)
    except (OSError, StorageFull):
        return  # without room for it the next try begins anew


def _new_file(into: Path) -> Path:
    try:
        into.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=into, prefix=parts.PREFIX)
    except OSError as error:
        raise _full_or(error) from error
    os.close(descriptor)
    return Path(name)


def _append(path: Path, piece: bytes, digest: _Digest) -> None:
    # Opened anew for each piece and never created here: when the download is cancelled meanwhile,
    # this thread finds the file gone, and no descriptor can be closed under it.
    digest.update(piece)
    try:
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(piece)
    except OSError as error:
        raise _full_or(error) from error


def _full_or(error: OSError) -> Exception:
    if error.errno in _NO_SPACE:
        return StorageFull("no space is left for downloads in the temporary folder")
    return error


def _too_big(max_bytes: int, *, announced: int | None = None) -> str:
    came = f" ({announced:,} were announced)" if announced else ""
    return f"the video is larger than the {max_bytes:,} bytes allowed{came}"


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        # Its download has just ended; infinitely young, so that nobody deletes it.
        return float("inf")
