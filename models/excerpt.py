"""Values as messages show them: cut, and read no further than that.

Of addresses scheme and host alone: messages reach logs, and who knows a path may use it.
"""

import re
from reprlib import Repr
from typing import Final

#: Characters, elements and levels that are read of a value: more than a message shows.
_READ: Final = 200
_REPR: Final = Repr()
#: As in `transport.redact`, which this package must not import.
_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31})://(?:[^/?#\s\"'<>]*@)?(?P<host>[^/\\?#\s\"'<>]*)[^\s\"'<>]*",
    re.IGNORECASE,
)
for _limit in vars(_REPR):
    if _limit.startswith("max"):
        setattr(_REPR, _limit, _READ)
_REPR.maxlevel = 8


def excerpt(value: object, *, most: int) -> str:
    """The value as Python writes it, in at most `most` characters; it may have megabytes."""
    text = repr(value[:_READ]) if isinstance(value, str) else _REPR.repr(value)
    text = _URL.sub(_without_path, text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _without_path(found: re.Match[str]) -> str:
    kept = f"{found['scheme']}://{found['host']}"
    return kept if kept == found[0] else f"{kept}/…"
