"""Reading what vendors answer: documented fields out of JSON, and ids back into paths.

Every reader raises Undocumented with the field's name and never its value, since an answer can
hold prompts and signed links; `providers.exchange` turns it into a BadAnswer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

T = TypeVar("T")

#: No vendor's id or status word is longer; more is not an id.
LONGEST_WORD = 512


class Undocumented(ValueError):
    """An answer is not what the vendor documents; the message names the field, not its value."""


class UnknownStatus(Exception):
    """A status word that no document of the vendor has: loud, and polled on."""

    def __init__(self, word: str) -> None:
        super().__init__(f"undocumented status {word[:64]!r}")
        self.word = word[:64]


def phase(answer: object, field: str, *, among: Mapping[str, T]) -> T:
    """The phase that a status word stands for.

    Raises:
        UnknownStatus: it is not `among` the documented words.
    """
    word = text(answer, field)
    if word not in among:
        raise UnknownStatus(word)
    return among[word]


def optional(answer: object, field: str) -> object:
    """A field's value, or None where the object has no such field."""
    if not isinstance(answer, dict):
        msg = "a JSON object was expected"
        raise Undocumented(msg)
    return answer.get(field)


def text(answer: object, field: str) -> str:
    """A field that must be there and say something."""
    value = optional_text(answer, field)
    if not value:
        msg = f"it has no text in {field!r}"
        raise Undocumented(msg)
    return value


def optional_text(answer: object, field: str) -> str | None:
    value = optional(answer, field)
    if value is not None and not isinstance(value, str):
        msg = f"its {field!r} is not text"
        raise Undocumented(msg)
    return value


def identifier(answer: object, field: str) -> str:
    """An operation's id: text that can stand in a path and in a column."""
    value = text(answer, field)
    if len(value) > LONGEST_WORD or not value.isprintable() or value in {".", ".."}:
        msg = f"its {field!r} can't be an id"
        raise Undocumented(msg)
    return value


def optional_number(answer: object, field: str) -> float | None:
    """A finite number of zero or more, where the field is there."""
    value = optional(answer, field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"its {field!r} is not a number"
        raise Undocumented(msg)
    if not math.isfinite(value) or value < 0:
        msg = f"its {field!r} is not a finite number of zero or more"
        raise Undocumented(msg)
    return float(value)


def record(answer: object, field: str) -> object:
    """A field that must be an object of its own."""
    value = optional(answer, field)
    if not isinstance(value, dict):
        msg = f"its {field!r} is not an object"
        raise Undocumented(msg)
    return value


def items(answer: object, field: str) -> Sequence[object]:
    value = optional(answer, field)
    if not isinstance(value, list):
        msg = f"its {field!r} is not a list"
        raise Undocumented(msg)
    return value


def link(value: object) -> str:
    """An absolute web address, as results are given."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        msg = "a result is not a web address"
        raise Undocumented(msg)
    return value


def segment(operation_id: str) -> str:
    """An id as one segment of a path, so that it can't reach another resource."""
    return quote(operation_id, safe="")
