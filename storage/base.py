"""The storage interface: a store of immutable objects, and its errors.

The errors, and how a caller should react:

    StorageError
    ├── BadVideo          the download is unusable
    │   ├── TooBig        larger than allowed: do not retry
    │   ├── NotAVideo     not a video, such as an error page: ask for a fresh link
    │   ├── Truncated     cut off: retry the download
    │   └── Unreadable    breaks the limits or the decoder, twice: do not retry
    ├── NotStored         no such object: report it
    ├── StorageFull       no space left: retry later and alert an operator
    └── Unavailable       the store is unreachable or denies access: as above

An invalid key raises ValueError: it is a bug, since no user chooses a key.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)


class StorageError(Exception):
    """Base of all storage errors; messages are for people and never contain a URL."""


class BadVideo(StorageError):
    """The download is unusable."""


class TooBig(BadVideo):
    """The video is larger than allowed."""


class NotAVideo(BadVideo):
    """The bytes are not a playable video."""


class Truncated(BadVideo):
    """The video is cut off."""


class Unreadable(BadVideo):
    """Looking into the video takes too much, or crashes the decoder."""


class NotStored(StorageError):
    """No object has this key."""


class StorageFull(StorageError):
    """The disk or the temporary folder has no space left."""


class Unavailable(StorageError):
    """The store does not answer, or rejects our credentials."""


class NotOpened(Unavailable):
    """The store's URL is wrong, or its folder can't be made."""


class Storage(Protocol):
    """A store of objects, which are created atomically and never change afterwards."""

    async def put_file(self, key: str, path: Path, *, content_type: str) -> None:
        """Store the file's bytes under `key`; idempotent.

        Raises:
            StorageFull, Unavailable: repeat the call.
        """
        ...

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes from `start` up to, not including, `end` (None: to its last byte).

        Raises:
            NotStored, Unavailable: while iterating.
        """
        ...

    async def head(self, key: str) -> int | None:
        """The object's size in bytes, or None if there is no object. Raises StorageError."""
        ...

    async def delete(self, key: str) -> None:
        """Delete the object, if it exists. Raises StorageError."""
        ...

    async def put_note(self, key: str, content: bytes) -> None:
        """Store a note (a small object); it is durable on return. Raises StorageError."""
        ...

    async def read_note(self, key: str) -> bytes:
        """The bytes of a note. Raises StorageError, NotStored among them."""
        ...

    async def notes(self, folder: str) -> list[str]:
        """The keys of the notes in a folder, sorted. Raises StorageError."""
        ...

    async def delete_note(self, key: str) -> None:
        """Delete a note, if it exists. Raises StorageError."""
        ...


def video_key(job_id: str, output_id: str, at: datetime) -> str:
    """The key of an output's video: `videos/<yyyy>/<mm>/<job_id>/<output_id>.mp4`.

    `at` must be the same in every call for an output (its job's creation time); otherwise a
    repeated store would leave a second copy.
    """
    if at.tzinfo is None:
        msg = "the time in a video's key must have a time zone"
        raise ValueError(msg)
    day = at.astimezone(UTC)
    return checked_key(f"videos/{day:%Y}/{day:%m}/{job_id}/{output_id}.mp4", segments=5)


#: Suffixes of the keys of what is stored beside a video.
STILLS: Final = ("poster", "sheet")


def stills_key(key: str, kind: str) -> str:
    """The key of a video's still of this kind (`poster` or `sheet`), beside the video's own."""
    return f"{key}.{kind}.jpg"


def checked_key(key: str, *, segments: int | None = None) -> str:
    """Return `key` if it consists of plain names between slashes.

    Raises:
        ValueError: a segment is not a plain name, or their number is not `segments`.
    """
    parts = key.split("/")
    plain = all(_SEGMENT.fullmatch(part) for part in parts)
    if not plain or (segments is not None and len(parts) != segments):
        msg = f"not a storage key: {key[:200]!r}"
        raise ValueError(msg)
    return key
