"""Values as messages show them: cut, and read no further than that.

Of addresses scheme and host alone: messages reach logs, and who knows a path may use it.
"""

import re
from reprlib import Repr
from typing import Final

from models.address import ADDRESS, shown_of

#: Characters, elements and levels that are read of a value: more than a message shows.
_READ: Final = 200
_REPR: Final = Repr()
for _limit in vars(_REPR):
    if _limit.startswith("max"):
        setattr(_REPR, _limit, _READ)
_REPR.maxlevel = 8


def excerpt(value: object, *, most: int) -> str:
    """The value as Python writes it, in at most `most` characters; it may have megabytes."""
    text = repr(_without_cut_address(value)) if isinstance(value, str) else _REPR.repr(value)
    text = ADDRESS.sub(_without_path, text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _without_cut_address(value: str) -> str:
    """The part that is read, without an address at its end whose host may begin behind it."""
    text = value[:_READ]
    head, mark, rest = text.rpartition("://")
    is_cut = len(value) > _READ and mark and "@" not in rest and not any(map(str.isspace, rest))
    return f"{head}{mark}…" if is_cut else text


def _without_path(found: re.Match[str]) -> str:
    shown = shown_of(found)
    return shown if shown.endswith(f"://{found['rest']}") else f"{shown}/…"
