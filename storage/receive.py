"""Receives a download: streams it to a temporary file, limits its size and hashes it.

The disk's reserve is checked at the start, for the announced size, and again before each piece.

A partial download can be kept, and resumed by the next try: see `storage.parts`.
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
from storage.disk import on_disk
from storage.parts import Keep, Part
from storage.space import check_space

#: Bytes buffered before a thread hashes and writes them: enough to make the thread switch cheap,
#: and few enough for hundreds of concurrent downloads.
PIECE = 2**20
#: Age since its last write at which a download's file is deleted: a killed process left it, or it
#: is a part that was never resumed. It exceeds the longest download, so no file in use is deleted.
ABANDONED_AFTER = timedelta(hours=2)

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A complete download in a temporary file."""

    path: Path
    bytes: int
    #: Lower-case hexadecimal.
    sha256: str


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class _Incoming:
    """A download's file, its digest, and the bytes not yet written."""

    path: Path
    digest: _Digest
    #: Bytes received, including those of the part that it resumes.
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
        self._writing = asyncio.ensure_future(on_disk(_append, self.path, piece, self.digest))
        await asyncio.shield(self._writing)  # a thread can't be cancelled; `finish` waits for it

    async def finish(self) -> None:
        """Write all received bytes to the file, even after a cancellation.

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
    """Stream `chunks` into a file in `into`, which is deleted at the end of the block.

    `expected_bytes` is the announced total size: see `announced_bytes`. With `part`, the chunks
    continue that part. With `keep`, a download that fails or is cancelled leaves a part for the
    next try. Network errors pass through unchanged; the client's timeout must end a stalled stream.

    Raises:
        TooBig: more than `max_bytes` were received or announced.
        Truncated: the size differs from the announced one, the stream was empty, or the part no
            longer exists.
        StorageFull: the temporary folder's disk is full, or would keep less than its reserve.
    """
    if expected_bytes is not None and expected_bytes > max_bytes:
        raise TooBig(_too_big(max_bytes, announced=expected_bytes))
    incoming = await _started(into, part)
    try:
        try:
            if expected_bytes is not None:
                await on_disk(check_space, into, max(0, expected_bytes - incoming.total))
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
    """The body's size according to the lower-case headers, or None if they lack it.

    The length of an encoded body does not tell how many bytes decoding yields.
    """
    length = headers.get("content-length", "")
    encoded = headers.get("content-encoding", "identity") != "identity"
    return None if encoded or not (length.isascii() and length.isdigit()) else int(length)


def remove_abandoned(directory: Path, *, older_than: timedelta) -> int:
    """Delete files of abandoned downloads; returns how many.

    `older_than` must exceed the longest download; otherwise a running one loses its file.
    """
    oldest = time.time() - older_than.total_seconds()
    abandoned = [file for file in directory.glob(f"{parts.PREFIX}*") if _modified_at(file) < oldest]
    for file in abandoned:
        file.unlink(missing_ok=True)
    return len(abandoned)


async def _started(into: Path, part: Part | None) -> _Incoming:
    """A new file, or one that continues `part`, whose bytes are hashed first."""

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

    return await on_disk(begin)


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
        msg = f"received {incoming.total:,} of {expected_bytes:,} bytes"
        raise Truncated(msg)
    if incoming.total == 0:
        msg = "the download is empty"
        raise Truncated(msg)
    await incoming.flush()


async def _keep(incoming: _Incoming, into: Path, how: Keep) -> None:
    """Keep the received bytes as a part, and delete abandoned files."""
    total = how.origin.total
    if incoming.total == 0 or (total is not None and incoming.total >= total):
        return

    def keep() -> None:
        parts.keep(incoming.path, into, how)
        remove_abandoned(into, older_than=ABANDONED_AFTER)

    try:
        await incoming.finish()
        await on_disk(keep)
    except (OSError, StorageFull):
        return  # without space for a part, the next try starts over


def _new_file(into: Path) -> Path:
    try:
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=into, prefix=parts.PREFIX)
    except OSError as error:
        raise _full_or(error) from error
    os.close(descriptor)
    return Path(name)


def _append(path: Path, piece: bytes, digest: _Digest) -> None:
    # Reopened for each piece and never created here: if the download is cancelled meanwhile, this
    # thread finds the file deleted, and no open descriptor is closed under it.
    digest.update(piece)
    try:
        check_space(path.parent, len(piece))
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(piece)
    except OSError as error:
        raise _full_or(error) from error


def _full_or(error: OSError) -> Exception:
    if error.errno in _NO_SPACE:
        return StorageFull("no space left in the temporary folder for downloads")
    return error


def _too_big(max_bytes: int, *, announced: int | None = None) -> str:
    detail = f" ({announced:,} bytes were announced)" if announced else ""
    return f"the video is larger than the limit of {max_bytes:,} bytes{detail}"


def _modified_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        # Its download has just ended: report the newest age, so that it is not deleted.
        return float("inf")
