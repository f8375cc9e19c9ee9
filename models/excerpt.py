"""Values as messages show them: cut, and read no further than that."""

from reprlib import Repr
from typing import Final

#: Characters, elements and levels that are read of a value: more than a message shows.
_READ: Final = 200
_REPR: Final = Repr()
for _limit in vars(_REPR):
    if _limit.startswith("max"):
        setattr(_REPR, _limit, _READ)
_REPR.maxlevel = 8


def excerpt(value: object, *, most: int) -> str:
    """The value as Python writes it, in at most `most` characters; it may have megabytes."""
    text = repr(value[:_READ]) if isinstance(value, str) else _REPR.repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
