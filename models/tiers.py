"""Tiers: the named sets of limits in `tiers.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from models.failure import RequestRefused

_SHIPPED = Path(__file__).with_name("tiers.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be submitted; None: no limit."""

    #: Unfinished jobs at a time.
    concurrent: int | None = None
    #: Accepted jobs in a minute and in a day.
    per_minute: int | None = None
    per_day: int | None = None

    def as_dict(self) -> dict[str, int | None]:
        return asdict(self)


@cache
def tiers() -> Mapping[str, Limits]:
    """The tiers by name, in the file's order."""
    values = tomllib.loads(_SHIPPED.read_text(encoding="utf-8"))
    return {name: Limits(**limits) for name, limits in values.items()}


def tier_limits(name: str) -> Limits:
    """A tier's limits; raises RequestRefused for an unknown name."""
    if name not in tiers():
        known = ", ".join(tiers())
        msg = f"tier must be one of {known} (it is {name[:64]!r})"
        raise RequestRefused(msg, param="tier")
    return tiers()[name]
