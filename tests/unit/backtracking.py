"""How many steps Python's `re` takes, counted by a backtracking matcher of the same parse tree.

`re` has no counter of its own. `steps` follows its algorithm for what our patterns use, and raises
Unknown for anything else. `growth` feeds a pattern texts that are made from its own pieces.
"""

import importlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

#: Lengths of the texts. Three times the length takes three times the steps if they are linear, and
#: nine times if they are quadratic.
SHORT: Final = 100
LONG: Final = 3 * SHORT
#: Steps after which a match is given up.
MOST_STEPS: Final = 60_000

#: Of each kind of repeated part, and of beginnings.
_MOST_PUMPS = 9
_MOST_BEGINS = 2
_MOST_WORDS = 4
#: Repeats of at most so many can't grow with a text of SHORT characters.
_FEW = 16
_parser: Any = importlib.import_module("re._parser")
_SAMPLES = "a-0 .:/_@=+\t'\"bAzZ!~%é"
_CATEGORIES: Final[dict[str, Callable[[str], bool]]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda one: one.isalnum() or one == "_",
}
_Then = Callable[[int], int | None]


class Unknown(Exception):
    """The pattern uses something that the matcher does not know."""


class TooMany(Exception):
    """More steps than MOST_STEPS."""


def growth(pattern: str, flags: int = 0, *, is_anchored: bool = False) -> tuple[float, str]:
    """The worst ratio of the steps for a long text to those for a short one, and its repeated part.

    It is about 3 for a linear pattern. `is_anchored`: it is only matched from a text's beginning.
    """
    tree = _parser.parse(pattern, flags)
    if not any(_repeats_much(node) for nodes in _sequences(list(tree)) for node in nodes):
        return 0.0, ""
    worst, by = 0.0, ""
    with _deep_recursion():
        for before, pump, after in _texts(list(tree)):
            short, long = (
                before + pump * (length // len(pump)) + after for length in (SHORT, LONG)
            )
            for only_whole in {True, is_anchored}:
                try:
                    more = _count(tree, long, only_whole=only_whole)
                except TooMany:
                    return float("inf"), pump
                # Longer than the text: what each text costs in any case does not count as growth.
                fewer = max(_count(tree, short, only_whole=only_whole), SHORT)
                if more / fewer > worst:
                    worst, by = more / fewer, pump
    return worst, by


@contextmanager
def _deep_recursion() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _count(tree: Any, text: str, *, only_whole: bool) -> int:
    """Steps of `fullmatch`, or of `sub`, which searches on behind each match."""
    machine = _Machine(text, ignore_case=bool(tree.state.flags & re.IGNORECASE))
    nodes = list(tree)
    if only_whole:
        machine.run(nodes, 0, lambda at: at if at == len(text) else None)
        return machine.steps
    at = 0
    while at <= len(text):
        end = machine.run(nodes, at, lambda at: at)
        at = at + 1 if end is None else max(end, at + 1)
    return machine.steps


class _Machine:
    """One match: depth first, in the order of `re`, with what follows as a continuation."""

    def __init__(self, text: str, *, ignore_case: bool) -> None:
        self.text = text
        self.steps = 0
        self._ignore_case = ignore_case

    def run(  # noqa: PLR0911 - one for each kind of node
        self, nodes: list[Any], at: int, then: _Then
    ) -> int | None:
        if not nodes:
            return then(at)
        self._step()
        (op, value), rest = nodes[0], nodes[1:]
        match str(op):
            case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
                return self.run(rest, at + 1, then) if self._fits(nodes[0], at) else None
            case "SUBPATTERN":
                return self.run([*value[3], *rest], at, then)
            case "BRANCH":
                found = (self.run([*branch, *rest], at, then) for branch in value[1])
                return next((end for end in found if end is not None), None)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT" as kind:
                return self._repeat(kind, value, at, lambda end: self.run(rest, end, then))
            case "ASSERT" | "ASSERT_NOT" as kind:
                direction, inner = value
                if direction > 0:
                    found_one = self.run(list(inner), at, lambda end: end) is not None
                else:
                    found_one = at > 0 and self._fits(inner[0], at - 1)
                return self.run(rest, at, then) if found_one == (kind == "ASSERT") else None
            case "AT":
                return self.run(rest, at, then) if self._is_at(str(value), at) else None
        raise Unknown(str(op))

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TooMany

    def _repeat(self, kind: str, value: Any, at: int, then: _Then) -> int | None:
        least, most, inner = value
        most = sys.maxsize if most is _parser.MAXREPEAT else most
        if len(inner) == 1 and str(inner[0][0]) in {"LITERAL", "NOT_LITERAL", "IN", "ANY"}:
            return self._repeat_one(kind, (least, most, inner[0]), at, then)
        if kind != "MAX_REPEAT":
            raise Unknown(kind)

        def again(count: int, start: int) -> int | None:
            if count < most:
                end = self.run(
                    list(inner), start, lambda to: again(count + 1, to) if to > start else None
                )
                if end is not None:
                    return end
            return then(start) if count >= least else None

        return again(0, at)

    def _repeat_one(self, kind: str, value: Any, at: int, then: _Then) -> int | None:
        least, most, node = value
        taken = 0
        while taken < most and self._fits(node, at + taken):
            self._step()
            taken += 1
        counts = range(least, taken + 1)
        order = {"MAX_REPEAT": reversed(counts), "POSSESSIVE_REPEAT": counts[-1:]}.get(kind, counts)
        for count in order:
            self._step()
            end = then(at + count)
            if end is not None:
                return end
        return None

    def _fits(self, node: Any, at: int) -> bool:
        if not 0 <= at < len(self.text):
            return False
        one = self.text[at]
        return _fits(node, one) or (
            self._ignore_case and (_fits(node, one.lower()) or _fits(node, one.upper()[0]))
        )

    def _is_at(self, where: str, at: int) -> bool:
        is_word = _CATEGORIES["CATEGORY_WORD"]
        sides = [0 <= side < len(self.text) and is_word(self.text[side]) for side in (at - 1, at)]
        match where:
            case "AT_BOUNDARY":
                return sides[0] != sides[1]
            case "AT_BEGINNING":
                return at == 0
            case "AT_END":
                return at == len(self.text)
        raise Unknown(where)


def _fits(node: Any, one: str) -> bool:
    op, value = node
    match str(op):
        case "LITERAL":
            return bool(ord(one) == value)
        case "NOT_LITERAL":
            return bool(ord(one) != value)
        case "RANGE":
            return bool(value[0] <= ord(one) <= value[1])
        case "ANY":
            return one != "\n"
        case "CATEGORY":
            name = str(value).replace("_NOT_", "_")
            return _CATEGORIES[name](one) == (name == str(value))
        case "IN":
            negated = str(value[0][0]) == "NEGATE"
            return any(_fits(part, one) for part in value[negated:]) != negated
    raise Unknown(str(op))


def _texts(nodes: list[Any]) -> Iterator[tuple[str, str, str]]:
    """What stands before, repeatedly in, and after the texts; pieces come from the pattern."""
    sequences = list(_sequences(nodes))
    single = sorted({one for nodes in sequences for node in nodes for one in _characters(node)})
    runs = [
        word
        for nodes in sequences
        for start, end in itertools.combinations(_cuts(nodes), 2)
        for word in _words(nodes[start:end])
    ]
    apart = [f"{word} " for word in runs]
    pairs = ["".join(_characters(node)) for nodes in sequences for node in nodes]
    begins = ["", *(word for cut in _cuts(nodes)[1:-1] for word in _words(nodes[:cut])[:1])]
    pumps = [
        pump
        for kind in (runs, apart, single, pairs)
        for pump in _spread(list(dict.fromkeys(kind)), _MOST_PUMPS)
        if 0 < len(pump) <= SHORT
    ]
    for pump in dict.fromkeys(pumps):
        for before in _spread(list(dict.fromkeys(begins)), _MOST_BEGINS):
            yield before, pump, "\x00"


def _repeats_much(node: Any) -> bool:
    op, value = node
    return "REPEAT" in str(op) and value[1] > _FEW


def _cuts(nodes: list[Any]) -> list[int]:
    """Where a sequence may be cut: not inside a word of several literals."""
    inside = (
        at
        for at in range(1, len(nodes))
        if {str(nodes[at - 1][0]), str(nodes[at][0])} != {"LITERAL"}
    )
    return [0, *inside, len(nodes)]


def _spread(values: list[str], most: int) -> list[str]:
    return values[:: max(1, -(-len(values) // most))]


def _sequences(nodes: list[Any]) -> Iterator[list[Any]]:
    yield nodes
    for op, value in nodes:
        match str(op):
            case "SUBPATTERN":
                yield from _sequences(list(value[3]))
            case "BRANCH":
                for branch in value[1]:
                    yield from _sequences(list(branch))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                yield from _sequences(list(value[2]))


def _characters(node: Any) -> list[str]:
    """A few characters of a class."""
    return [one for one in _SAMPLES if _fits(node, one)][:2] if str(node[0]) == "IN" else []


def _words(nodes: list[Any]) -> list[str]:
    """A few texts that the nodes match."""
    words = [""]
    for node in nodes:
        words = [word + piece for word in words for piece in _pieces(node)][:_MOST_WORDS]
    return words


def _pieces(node: Any) -> list[str]:
    op, value = node
    match str(op):
        case "LITERAL":
            return [chr(value)]
        case "NOT_LITERAL" | "IN" | "ANY":
            return [one for one in [*_SAMPLES, *map(chr, range(32, 127))] if _fits(node, one)][:2]
        case "SUBPATTERN":
            return _words(list(value[3]))
        case "BRANCH":
            return [word for branch in value[1] for word in _words(list(branch))[:1]]
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return [word * max(value[0], 1) for word in _words(list(value[2]))]
    return [""]
