"""A download on its way in: streamed to a temporary file, capped, counted and hashed."""

import asyncio
import errno
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from storage.base import StorageFull, TooBig, Truncated

#: Bytes gathered before a thread is asked to hash and write them: large enough that the hand-over
#: costs nothing, small enough for hundreds of downloads at once.
PIECE = 2**20

_PREFIX = "incoming-"
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


@asynccontextmanager
async def receive(
    chunks: AsyncIterator[bytes],
    *,
    into: Path,
    max_bytes: int,
    expected_bytes: int | None = None,
) -> AsyncIterator[Received]:
    """Stream `chunks` into a file of `into`, which is gone when the block is left, however it is.

    `expected_bytes` is what the sender announced: see `announced_bytes`. The network's own errors
    pass through unchanged, and a stream that stops must be ended by its client's time-out.

    Raises:
        TooBig: more than `max_bytes` came, or were announced.
        Truncated: the stream ended before or after the announced size, or held nothing.
        StorageFull: the temporary folder's disk is full.
    """
    if expected_bytes is not None and expected_bytes > max_bytes:
        raise TooBig(_too_big(max_bytes, announced=expected_bytes))
    path = _new_file(into)
    try:
        yield await _fill(path, chunks, max_bytes=max_bytes, expected_bytes=expected_bytes)
    finally:
        path.unlink(missing_ok=True)


def announced_bytes(headers: Mapping[str, str]) -> int | None:
    """The body's size as an answer's lower-case headers tell it, or None when they don't.

    The length of an encoded body says nothing about the bytes that come out of decoding.
    """
    length = headers.get("content-length", "")
    encoded = headers.get("content-encoding", "identity") != "identity"
    return None if encoded or not (length.isascii() and length.isdigit()) else int(length)


def remove_abandoned(directory: Path, *, older_than: timedelta) -> int:
    """Delete what downloads left whose process was killed; the number of files deleted.

    `older_than` must exceed the longest download, or a living one loses its file.
    """
    oldest = time.time() - older_than.total_seconds()
    abandoned = [file for file in directory.glob(f"{_PREFIX}*") if _written(file) < oldest]
    for file in abandoned:
        file.unlink(missing_ok=True)
    return len(abandoned)


async def _fill(
    path: Path, chunks: AsyncIterator[bytes], *, max_bytes: int, expected_bytes: int | None
) -> Received:
    digest = hashlib.sha256()
    gathered = bytearray()
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > max_bytes:
            raise TooBig(_too_big(max_bytes))
        gathered += chunk
        if len(gathered) >= PIECE:
            await asyncio.to_thread(_append, path, bytes(gathered), digest)
            gathered.clear()
    if expected_bytes is not None and total != expected_bytes:
        msg = f"{total:,} of {expected_bytes:,} bytes came"
        raise Truncated(msg)
    if total == 0:
        msg = "the download is empty"
        raise Truncated(msg)
    await asyncio.to_thread(_append, path, bytes(gathered), digest)
    return Received(path=path, bytes=total, sha256=digest.hexdigest())


def _new_file(into: Path) -> Path:
    try:
        into.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=into, prefix=_PREFIX)
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
