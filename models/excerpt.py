"""Values as messages show them: cut, and read no further than that.

Of addresses scheme and host alone: messages reach logs, and who knows a path may use it.
"""

import re
from reprlib import Repr
from typing import Final

#: Characters, elements and levels that are read of a value: more than a message shows.
_READ: Final = 200
_REPR: Final = Repr()
#: As in `transport.redact`, which this package must not import; repr() doubles a backslash.
_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31}):\\?\\?/\\?\\?/"
    r"(?P<rest>(?:[^\s\"'<>]|'(?=[^\s,;:.)\]}'\"<>]))*)",
    re.IGNORECASE,
)
_ENDS: Final = re.compile(r"[/\\?#']")
_HOST: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")
for _limit in vars(_REPR):
    if _limit.startswith("max"):
        setattr(_REPR, _limit, _READ)
_REPR.maxlevel = 8


def excerpt(value: object, *, most: int) -> str:
    """The value as Python writes it, in at most `most` characters; it may have megabytes."""
    text = repr(_without_cut_address(value)) if isinstance(value, str) else _REPR.repr(value)
    text = _URL.sub(_without_path, text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _without_cut_address(value: str) -> str:
    """The part that is read, without an address at its end whose host may begin behind it."""
    text = value[:_READ]
    head, mark, rest = text.rpartition("://")
    is_cut = len(value) > _READ and mark and "@" not in rest and not any(map(str.isspace, rest))
    return f"{head}{mark}…" if is_cut else text


def _without_path(found: re.Match[str]) -> str:
    first = _ENDS.split(found["rest"], maxsplit=1)[0]
    host = first.rpartition("@")[2]
    if "@" not in first and not _HOST.fullmatch(first):
        _, at, behind = found["rest"].rpartition("@")
        host = _ENDS.split(behind, maxsplit=1)[0] if at else "…"
    kept = f"{found['scheme']}://{host}"
    return kept if host == found["rest"] else f"{kept}/…"
