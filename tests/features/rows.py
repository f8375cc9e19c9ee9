"""What is served of each system's API, and which test shows it: `tests/features.toml`, as pages."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROWS = ROOT / "tests/features.toml"
PAGE = ROOT / "docs/features.md"
README = ROOT / "README.md"
#: The tables of a system, in the order of the page, and their headings.
GROUPS = {
    "request": "Request",
    "answer": "Answer",
    "errors": "Errors and limits",
    "programs": "Programs and clients",
}
BEGIN, END = "<!-- features: `make features` writes this table -->", "<!-- /features -->"
_FIELD = re.compile(r"`(\w+)`")


class BadRow(ValueError):
    """The file can't be meant; the message names the place and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature, with the tests that show it or the reason why it is not served."""

    text: str
    #: pytest's node ids from the root, without parameters.
    tests: tuple[str, ...]
    not_served: str | None

    @property
    def fields(self) -> set[str]:
        """The names in backticks."""
        return set(_FIELD.findall(self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system, whose operations have its name as their tag in /openapi.json."""

    name: str
    groups: Mapping[str, tuple[Feature, ...]]

    @property
    def features(self) -> Iterator[Feature]:
        for group in self.groups.values():
            yield from group


def read(path: Path = ROWS) -> list[System]:
    """The systems of a file.

    Raises:
        BadRow: something in it can't be meant.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    _only(document, {"system"}, "the file")
    return [_system(raw) for raw in document.get("system", [])]


def page(systems: list[System]) -> str:
    """All of it as Markdown."""
    lines = [
        "# What is served of each system",
        "",
        "`make features` writes this page from `tests/features.toml`. A test fails if a row names",
        "a test that is not collected, or if a field of /openapi.json stands in no row.",
    ]
    for system in systems:
        lines += ["", f"## {system.name}"]
        for group, features in system.groups.items():
            lines += ["", f"| {GROUPS[group]} | shown by |", "|---|---|"]
            lines += [f"| {each.text} | {_shown(each)} |" for each in features]
    return "\n".join(lines) + "\n"


def table(systems: list[System]) -> str:
    """A line for each system: how many of its features are served."""
    lines = ["| features served | " + " | ".join(map(str.lower, GROUPS.values())) + " |"]
    lines.append("|---" * (len(GROUPS) + 1) + "|")
    for system in systems:
        anchor = re.sub(r"[^\w -]", "", system.name.lower()).replace(" ", "-")
        counts = [_count(system.groups[group]) for group in GROUPS]
        lines.append(f"| [{system.name}](docs/features.md#{anchor}) | " + " | ".join(counts) + " |")
    return "\n".join(lines) + "\n"


def within(text: str, made: str) -> str:
    """A page with the table between its two marks.

    Raises:
        BadRow: the page has not each mark once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        msg = f"the page must have {BEGIN} and {END} once each"
        raise BadRow(msg)
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{made}\n{END}{rest.partition(END)[2]}"


def _shown(feature: Feature) -> str:
    if feature.not_served:
        return f"not served: {feature.not_served}"
    return "<br>".join(f"`{test.rpartition('/')[2]}`" for test in feature.tests)


def _count(features: tuple[Feature, ...]) -> str:
    return f"{sum(not each.not_served for each in features)} of {len(features)}"


def _system(raw: Mapping[str, Any]) -> System:
    _only(raw, {"name", "tests", *GROUPS}, f"the system {raw.get('name')}")
    if missing := {"name", "tests", *GROUPS} - raw.keys():
        msg = f"the system {raw.get('name')} lacks {', '.join(sorted(missing))}"
        raise BadRow(msg)
    groups = {
        group: tuple(_feature(row, f"tests/{raw['tests']}", raw["name"]) for row in raw[group])
        for group in GROUPS
    }
    return System(name=raw["name"], groups=groups)


def _feature(raw: Mapping[str, Any], folder: str, system: str) -> Feature:
    text = raw.get("feature", "")
    _only(raw, {"feature", "test", "not_served"}, f"{system}: {text}")
    tests = raw.get("test", [])
    tests = (tests,) if isinstance(tests, str) else tuple(tests)
    if not text or bool(tests) == bool(raw.get("not_served")):
        msg = f"{system}: the row {text!r} needs a feature, and either test or not_served"
        raise BadRow(msg)
    return Feature(
        text=text,
        tests=tuple(f"{folder}/{test}" for test in tests),
        not_served=raw.get("not_served"),
    )


def _only(raw: Mapping[str, Any], allowed: set[str], where: str) -> None:
    if unknown := raw.keys() - allowed:
        msg = f"{where} has {', '.join(sorted(unknown))}; allowed are {', '.join(sorted(allowed))}"
        raise BadRow(msg)
