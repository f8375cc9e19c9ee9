"""Strict JSON: only what every reader of JSON, and PostgreSQL, takes in the same way."""

import json
from math import isfinite
from typing import Any, NoReturn

from models.failure import RequestRefused

#: Maximum nesting of arrays and objects.
MAX_DEPTH = 64
#: Maximum values of a text, counted by the characters that separate them, strings included: each
#: takes memory and time, however short it is.
MAX_VALUES = 100_000
#: Maximum escapes: each interrupts the reading of its string.
MAX_ESCAPES = 1_000_000


class _Unfit(ValueError):
    """Why a text is no strict JSON, said of the text."""


def parse_json(content: bytes, *, what: str = "the request body") -> Any:
    """The value of UTF-8 text without duplicate keys, NaN, NUL, or nesting beyond MAX_DEPTH.

    Raises:
        RequestRefused: invalid; the message begins with `what` and gives the position if known.
    """
    try:
        return _parsed(content)
    except _Unfit as error:
        raise RequestRefused(f"{what} {error}", code="invalid_json") from None


def _parsed(content: bytes) -> Any:
    if not content.strip():
        _refuse("is required: send a JSON object")
    if len(content) > MAX_VALUES:  # a shorter text has fewer of both
        _check_size(content)
    try:
        value = _DECODER.decode(content.decode())
    except json.JSONDecodeError as error:
        _refuse(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    except UnicodeDecodeError as error:
        _refuse(f"is not UTF-8: invalid byte at position {error.start}")
    except RecursionError:
        _refuse(_TOO_DEEP)
    except _Unfit:
        raise
    except ValueError:  # an integer with thousands of digits
        _refuse("has a number with too many digits")
    if b"\\u" in content or content.count(b"[") + content.count(b"{") > MAX_DEPTH:
        _check_values(value)
    return value


def _check_size(content: bytes) -> None:
    """Refuse what would take far more memory, or time, than its length; before it is parsed."""
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        _refuse(f"has more than {MAX_VALUES:,} values")
    if content.count(b"\\") > MAX_ESCAPES:
        _refuse(f"has more than {MAX_ESCAPES:,} escaped characters")


_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def _check_values(value: Any) -> None:
    """Refuse escaped characters and nesting that the parser accepts but PostgreSQL does not."""
    waiting = [(value, 1)]
    while waiting:
        current, depth = waiting.pop()
        match current:
            case str():
                _check_text(current)
            case dict() | list():
                if depth > MAX_DEPTH:
                    _refuse(_TOO_DEEP)
                waiting.extend((child, depth + 1) for child in _children(current))
            case _:
                pass


def _children(container: dict[str, Any] | list[Any]) -> list[Any]:
    if isinstance(container, list):
        return container
    return [*container.keys(), *container.values()]


def _check_text(text: str) -> None:
    if "\x00" in text:
        _refuse("must not contain the NUL character (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse("has an unpaired surrogate (\\ud800 to \\udfff)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                _refuse(f"has the key {name[:64]!r} twice")
            seen.add(name)
    return made


def _no_constant(name: str) -> NoReturn:
    _refuse(f"has {name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse(f"has a number out of range: {text[:64]}")
    return number


def _refuse(why: str) -> NoReturn:
    raise _Unfit(why)


#: Made once: `json.loads` would make one for each text.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
)
