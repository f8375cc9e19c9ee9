"""Downloads that were cut off: what is kept of them, and which answers may go on from there.

A part is one file, `incoming-<name>.part`: the bytes that came, a note of what they are the
beginning of, and the note's length. It is made by one rename and taken by one, so that no two
downloads ever write to the same file. A part that can't be read is no part.
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

#: What every file of a download begins with.
PREFIX = "incoming-"

_SUFFIX = ".part"
_LENGTH = 4
_LONGEST_NOTE = 4096
#: RFC 9110, section 8.8.3, less the weak ones: they do not promise the same bytes.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,256}"')
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
#: A file that changed just before it was sent may change again within the same second.
_SETTLED = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a download's bytes are of: two downloads are of the same bytes if these are equal."""

    #: A strong entity tag, or the time of the last change where there is none.
    validator: str
    #: The whole size in bytes; None where the sender did not tell.
    total: int | None
    #: SHA-256 of the address without its query, which a fresh link signs anew.
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The beginning of a download, kept on this machine."""

    path: Path
    bytes: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How a download is kept that is cut off: under which name, and as the beginning of what."""

    name: str
    origin: Origin


def origin_of(headers: Mapping[str, str], url: str, *, total: int | None) -> Origin | None:
    """What an answer's body is of; None where nothing proves that a later answer is of the same."""
    validator = _validator(headers)
    if validator is None or headers.get("content-encoding", "identity") != "identity":
        return None
    place = url.partition("#")[0].partition("?")[0]
    return Origin(validator=validator, total=total, place=sha256(place.encode()).hexdigest())


def range_headers(part: Part) -> dict[str, str]:
    """What asks for the rest of `part`, or for everything if the file has changed since."""
    return {"range": f"bytes={part.bytes}-", "if-range": part.origin.validator}


def goes_on(part: Part, headers: Mapping[str, str], url: str) -> int | None:
    """The whole size in bytes, if an answer of status 206 is all that is missing; else None.

    It must begin where the part ends, reach the last byte, and be of the very same bytes: a server
    that heeds `Range` and not `If-Range` would otherwise mix two versions of a file.
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
    """The part that is kept under `name`, if there is one."""
    return _read(_path(folder, name))


def take(part: Part, path: Path) -> None:
    """Make `part` the file `path`, which is the caller's alone.

    Raises:
        Truncated: somebody else has taken, replaced or removed it.
    """
    gone = "the download's beginning is gone"
    try:
        part.path.replace(path)
    except FileNotFoundError:
        raise Truncated(gone) from None
    found = _read(path)
    if found is None or (found.bytes, found.origin) != (part.bytes, part.origin):
        raise Truncated(gone)
    os.truncate(path, part.bytes)


def keep(path: Path, folder: Path, how: Keep) -> None:
    """Make the file `path` the part of that name, in place of an older one."""
    note = json.dumps(asdict(how.origin)).encode()
    with path.open("ab") as file:
        file.write(note + len(note).to_bytes(_LENGTH, "big"))
        file.flush()
        os.fsync(file.fileno())  # a part whose bytes a power cut took would be wrong, not short
    path.replace(_path(folder, how.name))


def drop(folder: Path, name: str) -> None:
    """Remove the part of that name; that there is none is fine."""
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
    except (OSError, ValueError, TypeError):  # missing, too short, or no note
        return None


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("etag", "")
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    modified = headers.get("last-modified", "")
    return modified if _is_settled(modified, sent=headers.get("date", "")) else None


def _is_settled(modified: str, *, sent: str) -> bool:
    """Whether a time of change tells versions apart (RFC 9110, section 8.8.2.2)."""
    try:
        age = parsedate_to_datetime(sent) - parsedate_to_datetime(modified)
    except (ValueError, TypeError, OverflowError):
        return False
    return modified.isascii() and modified.isprintable() and age >= _SETTLED
