"""Every regular expression takes time linear in its text: users' and vendors' words reach them."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.backtracking import growth

ROOT = Path(__file__).parents[2]
#: Tests and benchmarks read no user's text.
OUTSIDE = {"tests", "benchmarks", ".venv"}
#: Above what is linear (3) by what bounded gaps cost, and below what is quadratic (9).
MOST_GROWTH = 5.0
METHODS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}


def modules() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        if place.parts[0] not in OUTSIDE and "re." in path.read_text():
            yield place


def patterns() -> Iterator[tuple[str, tuple[re.Pattern[str], bool]]]:
    """Each pattern of the source by its place, and whether it only matches from the beginning."""
    for place in modules():
        text = (ROOT / place).read_text()
        calls = list(_calls(ast.parse(text)))
        if calls:
            module = importlib.import_module(".".join(place.with_suffix("").parts))
            for call, name in calls:
                pattern = _pattern(call, name, module)
                yield f"{place}:{call.lineno}", (pattern, _is_anchored(name, pattern, module, text))


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls of `re`, each with the function's name."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)):
                if name in METHODS:
                    yield node, name


def _pattern(call: ast.Call, name: str, module: ModuleType) -> re.Pattern[str]:
    """The call's pattern. One that is made from local variables fails here: it can't be judged."""
    parts = call.args[:2] if name == "compile" else call.args[:1]
    source, flags = (*(_value(part, module) for part in parts), 0)[:2]
    return re.compile(source.decode("latin-1") if isinstance(source, bytes) else source, flags)


def _is_anchored(name: str, pattern: re.Pattern[str], module: ModuleType, text: str) -> bool:
    """Whether nothing of its module searches with it, and something matches."""
    if name != "compile":
        return name in {"match", "fullmatch"}
    own = [
        known
        for known, value in vars(module).items()
        if isinstance(value, re.Pattern) and value == pattern
    ]
    used = {method for known in own for method in re.findall(rf"\b{known}\.(\w+)\(", text)}
    return bool(used) and used <= {"match", "fullmatch"}


def _value(part: ast.expr, module: ModuleType) -> Any:
    return eval(compile(ast.Expression(part), "<pattern>", "eval"), vars(module))  # noqa: S307 - our own source


FOUND = dict(patterns())


@pytest.mark.parametrize("place", FOUND)
def test_every_pattern_takes_time_linear_in_its_text(place: str) -> None:
    pattern, is_anchored = FOUND[place]

    worst, pump = growth(pattern.pattern, pattern.flags & ~re.UNICODE, is_anchored=is_anchored)

    assert worst <= MOST_GROWTH, f"{pattern.pattern!r} on {pump!r}, many times"


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b[\w-]*(?:api[_-]?key|secret|token)\s*[=:]",
        r"[a-z][a-z0-9+.-]*://",
        r"violates? (?:our|the|google's)\b.* polic",
        r"blocked\b[^.]*\b(?:safety|polic)",
        r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*s?\s*",
        r"(?:a+)+b",
        r"(?:a|a)*b",
        r"x*a?x*b",
    ],
)
def test_what_backtracks_is_found(pattern: str) -> None:
    worst, _ = growth(pattern)

    assert worst > MOST_GROWTH
