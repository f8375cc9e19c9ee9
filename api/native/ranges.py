"""HTTP range requests (RFC 9110, sections 13.1 and 14)."""

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.ASCII | re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range begins past the last byte."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` to `end`, exclusive."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


def wanted_span(header: str | None, *, size: int) -> Span | None:
    """The single range in a Range header; None means the whole video.

    A header that is malformed, uses another unit or lists several ranges is ignored, as the RFC
    allows.

    Raises:
        Unsatisfiable: the range contains no existing byte.
    """
    found = _ONE_RANGE.fullmatch(header) if header else None
    if found is None:
        return None
    match found.groups():
        case "", "":
            return None
        case "", length:
            return _at_least_a_byte(Span(max(0, size - int(length)), size))
        case first, "":
            return _at_least_a_byte(Span(int(first), size))
        case first, last:
            if int(last) < int(first):
                return None
            return _at_least_a_byte(Span(int(first), min(int(last) + 1, size)))
    raise AssertionError  # the pattern has two groups


def _at_least_a_byte(span: Span) -> Span:
    if span.start >= span.end:
        raise Unsatisfiable
    return span


def names_etag(header: str | None, etag: str) -> bool:
    """Whether If-None-Match lists our tag, by weak comparison."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def still_is(if_range: str | None, etag: str) -> bool:
    """Whether a range may be served: If-Range is absent or names the current video.

    A date never matches, since our responses have none.
    """
    return if_range is None or if_range.strip() == etag
