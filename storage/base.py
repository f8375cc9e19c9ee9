"""The seam to where finished videos live: a store of immutable objects, and what can go wrong.

The errors, by what the caller may do about them:

    StorageError
    ├── BadVideo          what was downloaded is no good
    │   ├── TooBig        larger than allowed: it will be so again
    │   ├── NotAVideo     something else came, such as an error page: ask for a fresh link
    │   └── Truncated     cut off: another download may be whole
    ├── NotStored         no object has this key
    ├── StorageFull       no space is left: later, and an operator must be told
    └── Unavailable       the store can't be reached or refuses us: later, and the same

A key that no function here would make is a ValueError: it is a mistake in code, never of data.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)


class StorageError(Exception):
    """Something about a video's bytes went wrong; the message is in words and holds no URL."""


class BadVideo(StorageError):
    """What was downloaded can't be kept."""


class TooBig(BadVideo):
    """The video is larger than allowed."""


class NotAVideo(BadVideo):
    """The bytes are no video that can be played."""


class Truncated(BadVideo):
    """The bytes end before the video does."""


class NotStored(StorageError):
    """No object has this key."""


class StorageFull(StorageError):
    """The disk or the temporary folder has no space left."""


class Unavailable(StorageError):
    """The store does not answer, or refuses our credentials."""


class Storage(Protocol):
    """A store of objects that appear whole or not at all, and never change afterwards."""

    async def put_file(self, key: str, path: Path, *, content_type: str) -> None:
        """Store the file's bytes under `key`; harmless to repeat.

        Raises:
            StorageFull, Unavailable: nothing was stored.
        """
        ...

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes from `start` up to, not including, `end` (None: to its last byte).

        Raises:
            NotStored, Unavailable: while iterating.
        """
        ...

    async def head(self, key: str) -> int | None:
        """The object's size in bytes, or None when there is none; raises Unavailable."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; removing what is not there is fine. Raises Unavailable."""
        ...

    async def put_note(self, key: str, content: bytes) -> None:
        """Store a few bytes under `key`, on the disk before it returns. Raises Unavailable."""
        ...

    async def read_note(self, key: str) -> bytes:
        """The bytes of a small object. Raises NotStored, Unavailable."""
        ...

    async def notes(self, folder: str) -> list[str]:
        """The keys of the small objects of a folder, in order. Raises Unavailable."""
        ...

    async def delete_note(self, key: str) -> None:
        """Remove a small object; removing what is not there is fine. Raises Unavailable."""
        ...


def video_key(job_id: str, output_id: str, at: datetime) -> str:
    """Where an output's video lives: `videos/<yyyy>/<mm>/<job_id>/<output_id>.mp4`.

    `at` must be the same at every call for an output (its job's creation), or a repeated store
    would leave a second copy.
    """
    if at.tzinfo is None:
        msg = "the time in a video's key must know its time zone"
        raise ValueError(msg)
    day = at.astimezone(UTC)
    return checked_key(f"videos/{day:%Y}/{day:%m}/{job_id}/{output_id}.mp4", segments=5)


def checked_key(key: str, *, segments: int | None = None) -> str:
    """The key itself, proven to be plain names between slashes.

    Raises:
        ValueError: a segment is empty, hidden, climbs upwards or holds another character.
    """
    parts = key.split("/")
    plain = all(_SEGMENT.fullmatch(part) for part in parts)
    if not plain or (segments is not None and len(parts) != segments):
        msg = f"not a storage key: {key[:200]!r}"
        raise ValueError(msg)
    return key
