"""Text and JSON that can be stored: what PostgreSQL and every reader of JSON take."""

import math
from typing import Annotated, Any, Final

from pydantic import AfterValidator

#: Maximum nesting of objects and lists.
MOST_NESTED: Final = 32


def storable(value: Any) -> Any:
    """The value; raises ValueError for one that PostgreSQL or a JSON reader does not take."""
    _check_storable(value, depth=0)
    return value


def _check_storable(value: object, *, depth: int) -> None:
    match value:
        case str() if "\x00" in value:
            raise ValueError("must not contain the NUL character")
        case str() if not _is_unicode(value):
            raise ValueError("must not contain an unpaired surrogate")
        case float() if not math.isfinite(value):
            raise ValueError("must not contain NaN or an infinity")
        case dict() | list() if depth == MOST_NESTED:
            raise ValueError(f"must not be nested deeper than {MOST_NESTED} levels")
        case dict():
            for each in (*value.keys(), *value.values()):
                _check_storable(each, depth=depth + 1)
        case list():
            for each in value:
                _check_storable(each, depth=depth + 1)
        case _:
            pass  # numbers, booleans and null


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


#: A string that PostgreSQL can store.
Text = Annotated[str, AfterValidator(storable)]
