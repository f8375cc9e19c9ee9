"""`python -m benchmarks [name …]`: measures only, so it never fails a build."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from benchmarks import batches, claims, flood, pages, polls, size, snapshot
from benchmarks.stand import Stand, machine, standing


class Result(Protocol):
    """What a benchmark found."""

    def show(self, console: Console) -> None: ...
    def as_json(self) -> dict[str, Any]: ...


#: Benchmarks by name; each gets its own stand and what was asked for.
BENCHMARKS: dict[str, Callable[[Stand, argparse.Namespace], Result]] = {
    "polls": lambda stand, asked: polls.measure(stand, rounds=asked.rounds),
    "snapshot": lambda stand, asked: snapshot.measure(stand, rounds=asked.rounds),
    "batches": lambda stand, asked: batches.measure(stand, rounds=asked.rounds),
    "flood": lambda stand, asked: flood.measure(stand, rounds=asked.rounds),
    "claims": lambda stand, asked: claims.measure(stand, rounds=asked.rounds),
    "pages": lambda stand, asked: pages.measure(stand, rounds=asked.rounds),
    "size": lambda stand, asked: size.measure(stand, jobs=asked.jobs),
}
#: Run only if they are named: they take a quarter of an hour and 15 GB.
LARGE = ("size",)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the named benchmarks, or all but the large ones; optionally write the results as JSON."""
    asked = _parser().parse_args(arguments)
    console = Console()
    found = {}
    for name in asked.names or [name for name in BENCHMARKS if name not in LARGE]:
        with standing() as stand:
            console.print(machine(stand), highlight=False, soft_wrap=True)
            report = BENCHMARKS[name](stand, asked)
        report.show(console)
        found[name] = report.as_json()
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures Longtake against its peers and against the limit, side by side.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--rounds", type=int, default=3, help="counted rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, default=size.JOBS, help="jobs of `size` (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all readings to this file")
    return parser


if __name__ == "__main__":
    main()
