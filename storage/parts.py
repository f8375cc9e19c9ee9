"""Partial downloads: how they are kept, and which responses can resume them.

A part is one file, `incoming-<name>.part`: the received bytes, a note of their origin, and the
note's length. It is created and taken by a rename, so that no two downloads ever write to the same
file. An unreadable part is ignored.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path

from storage.base import Truncated

#: Prefix of every download's file name.
PREFIX = "incoming-"

_SUFFIX = ".part"
_LENGTH = 4
_LONGEST_NOTE = 4096
#: Strong entity tags only (RFC 9110, section 8.8.3): weak ones do not promise the same bytes.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,256}"')
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
#: A file modified just before it was sent may be modified again within the same second.
_STRONG_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Identifies the file that a download is of; equal origins mean equal bytes."""

    #: A strong entity tag, or else the time of the last modification.
    validator: str
    #: Total size in bytes; None if the sender did not announce it.
    total: int | None
    #: SHA-256 of the URL without its query, which differs in a fresh signed link.
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The beginning of a download, stored on this machine."""

    path: Path
    bytes: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The name and the origin under which a partial download is kept."""

    name: str
    origin: Origin


def origin_of(headers: Mapping[str, str], url: str, *, total: int | None) -> Origin | None:
    """The origin of a response's body, or None if no validator could match a later response."""
    validator = _validator(headers)
    if validator is None or headers.get("content-encoding", "identity") != "identity":
        return None
    place = url.partition("#")[0].partition("?")[0]
    return Origin(validator=validator, total=total, place=sha256(place.encode()).hexdigest())


def range_headers(part: Part) -> dict[str, str]:
    """Headers that request the rest of `part`, or the whole file if it has changed."""
    return {"range": f"bytes={part.bytes}-", "if-range": part.origin.validator}


def completes(part: Part, headers: Mapping[str, str], url: str) -> int | None:
    """The total size in bytes if a 206 response completes `part`, else None.

    The response must start where the part ends, reach the last byte and have the same origin: a
    server that ignores `If-Range` would otherwise mix two versions of a file.
    """
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        return None
    first, last, total = (int(number) for number in found.groups())
    known = part.origin.total in {None, total}
    if not known or first != part.bytes or last != total - 1 or first > last:
        return None
    return total if origin_of(headers, url, total=part.origin.total) == part.origin else None


def find(folder: Path, name: str) -> Part | None:
    """The part stored under `name`, if any."""
    return _read(_path(folder, name))


def take(part: Part, path: Path) -> None:
    """Move `part` to `path`, a file that only the caller uses.

    Raises:
        Truncated: another download has taken, replaced or deleted it.
    """
    gone = "the partial download no longer exists"
    try:
        part.path.replace(path)
    except FileNotFoundError:
        raise Truncated(gone) from None
    found = _read(path)
    if found is None or (found.bytes, found.origin) != (part.bytes, part.origin):
        raise Truncated(gone)
    os.truncate(path, part.bytes)


def keep(path: Path, folder: Path, how: Keep) -> None:
    """Turn the file `path` into the part of that name, replacing an older one."""
    note = json.dumps(asdict(how.origin)).encode()
    with path.open("ab") as file:
        file.write(note + len(note).to_bytes(_LENGTH, "big"))
        file.flush()
        os.fsync(file.fileno())  # a power failure must not leave a part with wrong bytes
    path.replace(_path(folder, how.name))


def drop(folder: Path, name: str) -> None:
    """Delete the part of that name, if it exists."""
    _path(folder, name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{PREFIX}{name}{_SUFFIX}"


def _read(path: Path) -> Part | None:
    try:
        with path.open("rb") as file:
            end = file.seek(-_LENGTH, os.SEEK_END)
            length = int.from_bytes(file.read(_LENGTH), "big")
            if length > min(_LONGEST_NOTE, end):
                return None
            size = file.seek(end - length)
            return Part(path=path, bytes=size, origin=Origin(**json.loads(file.read(length))))
    except (OSError, ValueError, TypeError):  # missing, too short, or without a valid note
        return None


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("etag", "")
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    modified = headers.get("last-modified", "")
    return modified if _is_strong(modified, sent=headers.get("date", "")) else None


def _is_strong(modified: str, *, sent: str) -> bool:
    """Whether a modification time is a strong validator (RFC 9110, section 8.8.2.2)."""
    try:
        age = parsedate_to_datetime(sent) - parsedate_to_datetime(modified)
    except (ValueError, TypeError, OverflowError):
        return False
    return modified.isascii() and modified.isprintable() and age >= _STRONG_AFTER
