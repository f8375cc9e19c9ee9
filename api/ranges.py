"""HTTP ranges: which bytes a request wants of a video (RFC 9110, sections 13.1 and 14)."""

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.ASCII | re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range begins past the last byte."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


def wanted_span(header: str | None, *, size: int) -> Span | None:
    """The one range that a Range header asks for; None means all.

    A header that is malformed, counts in another unit or lists several ranges is ignored, as the
    RFC allows.

    Raises:
        Unsatisfiable: no byte of it exists.
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
    """Whether an If-None-Match lists our tag; weak comparison, as that header wants."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def still_is(if_range: str | None, etag: str) -> bool:
    """Whether a range may be cut from today's video: there is no If-Range, or it names this one.

    A date never does, since our answers carry none.
    """
    return if_range is None or if_range.strip() == etag
