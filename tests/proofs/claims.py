"""What is to be proved: `tests/proofs.toml`, read and checked."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds that one test may take, unless its group says otherwise.
SECONDS = 60.0


class BadClaim(ValueError):
    """The file can't be meant; the message names the place and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One promise: the tests that break it in the old tree, or why none can."""

    number: str
    promise: str
    #: pytest's node ids; one without parameters means all of its cases.
    tests: tuple[str, ...] = ()
    cannot: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Claims against one old commit."""

    name: str
    against: str
    #: Text of the present tests and what stands for it in the old tree: modules moved since.
    moved: Mapping[str, str]
    #: Files that the tests need beside their own, laid over the old tree too.
    also: tuple[str, ...]
    #: The longest that one test may take.
    seconds: float
    claims: tuple[Claim, ...]

    @property
    def tests(self) -> list[str]:
        return [test for claim in self.claims for test in claim.tests]

    @property
    def files(self) -> list[str]:
        """What is laid over the old tree, paths from the root."""
        return sorted({test.partition("::")[0] for test in self.tests} | set(self.also))


def read(path: Path) -> list[Group]:
    """The groups of a file.

    Raises:
        BadClaim: something in it can't be meant.
    """
    document = tomllib.loads(path.read_text())
    _only(document, "the file", {"group"})
    return [_group(raw, f"group[{n}]") for n, raw in enumerate(document.get("group", []))]


def _group(raw: Mapping[str, Any], where: str) -> Group:
    _only(raw, where, {"name", "against", "moved", "also", "seconds", "claim"})
    claims = [_claim(each, f"{where}.claim[{n}]") for n, each in enumerate(raw.get("claim", []))]
    return Group(
        name=_text(raw, "name", where),
        against=_text(raw, "against", where),
        moved=_pairs(raw, "moved", where),
        also=tuple(_texts(raw, "also", where)),
        seconds=float(raw.get("seconds", SECONDS)),
        claims=tuple(claims),
    )


def _claim(raw: Mapping[str, Any], where: str) -> Claim:
    _only(raw, where, {"number", "promise", "tests", "cannot"})
    tests = _texts(raw, "tests", where)
    if bad := [test for test in tests if "::" not in test or test.startswith("/")]:
        raise BadClaim(f"{where}.tests: {bad[0]!r} is not a node id such as tests/a/test_b.py::c")
    if bool(tests) == ("cannot" in raw):
        raise BadClaim(f"{where}: give either tests or, in cannot, the reason why there are none")
    return Claim(
        number=_text(raw, "number", where),
        promise=_text(raw, "promise", where),
        tests=tuple(tests),
        cannot=_text(raw, "cannot", where) if "cannot" in raw else None,
    )


def _only(raw: Mapping[str, Any], where: str, known: set[str]) -> None:
    if unknown := sorted(set(raw) - known):
        raise BadClaim(
            f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )


def _text(raw: Mapping[str, Any], key: str, where: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadClaim(f"{where}.{key}: {value!r} is not text")
    return value


def _texts(raw: Mapping[str, Any], key: str, where: str) -> Sequence[str]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadClaim(f"{where}.{key}: {value!r} is not a list of text")
    return value


def _pairs(raw: Mapping[str, Any], key: str, where: str) -> Mapping[str, str]:
    value = raw.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise BadClaim(f"{where}.{key}: {value!r} is not a table of text")
    return value
