"""Reads vendors' JSON responses: documented fields, ids and links, strictly validated.

Every reader raises Undocumented with the field's name but never its value, since a response can
contain prompts and signed URLs; `providers.exchange` turns it into a BadAnswer.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

T = TypeVar("T")

#: Maximum length of an id or status word; anything longer is invalid.
LONGEST_WORD = 512
#: What needs no escape in a URL (RFC 3986, section 2.3).
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")


class Undocumented(ValueError):
    """A response differs from the vendor's documentation; the message names the field only."""


class UnknownStatus(Exception):
    """An undocumented status: reported, and polling continues."""

    def __init__(self, word: str) -> None:
        super().__init__(f"undocumented status {word[:64]!r}")
        self.word = word[:64]


def phase(answer: object, field: str, *, among: Mapping[str, T]) -> T:
    """The phase for a status word.

    Raises:
        UnknownStatus: the word is not in `among`.
    """
    word = text(answer, field)
    if word not in among:
        raise UnknownStatus(word)
    return among[word]


def optional(answer: object, field: str) -> object:
    """A field's value, or None if absent."""
    if not isinstance(answer, dict):
        msg = "not a JSON object"
        raise Undocumented(msg)
    return answer.get(field)


def text(answer: object, field: str) -> str:
    """A required, non-empty text field."""
    value = optional_text(answer, field)
    if not value:
        msg = f"{field!r} is missing or empty"
        raise Undocumented(msg)
    return value


def optional_text(answer: object, field: str) -> str | None:
    value = optional(answer, field)
    if value is not None and not isinstance(value, str):
        msg = f"{field!r} is not text"
        raise Undocumented(msg)
    return value


def identifier(answer: object, field: str) -> str:
    """An operation id: printable text, safe in a URL path and a database column."""
    value = text(answer, field)
    if len(value) > LONGEST_WORD or not value.isprintable() or value in {".", ".."}:
        msg = f"{field!r} is not a valid id"
        raise Undocumented(msg)
    return value


def optional_number(answer: object, field: str) -> float | None:
    """An optional finite number, at least zero."""
    value = optional(answer, field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{field!r} is not a number"
        raise Undocumented(msg)
    if not math.isfinite(value) or value < 0:
        msg = f"{field!r} is not a finite number of at least zero"
        raise Undocumented(msg)
    return float(value)


def record(answer: object, field: str) -> object:
    """A required object field."""
    value = optional(answer, field)
    if not isinstance(value, dict):
        msg = f"{field!r} is not an object"
        raise Undocumented(msg)
    return value


def items(answer: object, field: str) -> Sequence[object]:
    value = optional(answer, field)
    if not isinstance(value, list):
        msg = f"{field!r} is not a list"
        raise Undocumented(msg)
    return value


def link(value: object) -> str:
    """An absolute http(s) URL."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        msg = "the result is not an http(s) URL"
        raise Undocumented(msg)
    return value


def segment(operation_id: str) -> str:
    """An id escaped as one path segment, so that it cannot address another resource."""
    return operation_id if _PLAIN.fullmatch(operation_id) else quote(operation_id, safe="")
