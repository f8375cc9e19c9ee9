"""Known names that begin like an unknown one, for the suggestions of a refusal."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import takewhile

#: First letters that must agree, and the most names that are suggested.
_LEAST, _MOST = 3, 3


class Names:
    """Known names in order. A look takes microseconds: every line of a large batch may need one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted((name.casefold(), name) for name in names)

    def like(self, unknown: str) -> list[str]:
        """The shortest of the names that share the most first letters with it, in any case."""
        typed = unknown.casefold()
        at = bisect_left(self._names, (typed,))
        beside = [known for known, _ in self._names[max(at - 1, 0) : at + 1]]
        begin = typed[: max((_shared(typed, known) for known in beside), default=0)]
        if len(begin) < _LEAST:
            return []
        found = []
        for known, name in self._names[bisect_left(self._names, (begin,)) :]:
            if not known.startswith(begin):
                break
            found.append(name)
        return sorted(found, key=lambda name: (len(name), name))[:_MOST]


def _shared(one: str, other: str) -> int:
    """How many first letters agree."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
