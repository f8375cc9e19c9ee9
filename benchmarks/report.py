"""Benchmark results: readings, ratios within a round, and targets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

#: Bytes per megabyte, microseconds per second.
_MB, _MICROS = 10**6, 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One run of one contender."""

    done: int
    seconds: float
    #: CPU time of the contender's processes and of the database, in seconds.
    cpu_seconds: float
    database_seconds: float
    #: In bytes.
    peak_memory: int

    @property
    def rate(self) -> float:
        return self.done / self.seconds


@dataclass(frozen=True, slots=True)
class Contender:
    """One implementation and its readings by round."""

    name: str
    readings: Sequence[Reading]

    def against(self, other: "Contender") -> list[float]:
        """Ratios of the rates, round by round."""
        pairs = zip(self.readings, other.readings, strict=True)
        return [ours.rate / theirs.rate for ours, theirs in pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A promised minimum for a ratio."""

    words: str
    at_least: float
    ratios: Sequence[float]
    #: What to look at if it is not met.
    hint: str = ""

    @property
    def is_met(self) -> bool:
        return median(self.ratios) >= self.at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One benchmark's result; `unit` is what is counted."""

    name: str
    unit: str
    contenders: Sequence[Contender]
    targets: Sequence[Target]
    #: What else was seen, a line each.
    notes: Sequence[str] = ()

    def show(self, console: Console) -> None:
        table = Table(title=self.name, title_justify="left", caption_justify="left")
        table.add_column("")
        for heading in (f"{self.unit}/s", "range", "CPU µs each", "database µs each", "peak MB"):
            table.add_column(heading, justify="right")
        for contender in self.contenders:
            table.add_row(contender.name, *_cells(contender.readings))
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False, soft_wrap=True)
        for target in self.targets:
            verdict = "met" if target.is_met else "NOT MET"
            console.print(
                f"{target.words}: {_spread(target.ratios)}, "
                f"target at least {target.at_least:g}: {verdict}",
                highlight=False,
            )
            if target.hint and not target.is_met:
                console.print(f"  {target.hint}", highlight=False, soft_wrap=True)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"met": [target.is_met for target in self.targets]}


def _cells(readings: Sequence[Reading]) -> list[str]:
    rates = [reading.rate for reading in readings]
    return [
        f"{median(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{median(r.cpu_seconds / r.done * _MICROS for r in readings):,.0f}",
        f"{median(r.database_seconds / r.done * _MICROS for r in readings):,.0f}",
        f"{max(r.peak_memory for r in readings) / _MB:,.0f}",
    ]


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
