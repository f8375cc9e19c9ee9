"""`python -m benchmarks [name …]`: measures only, so it never fails a build."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import claims, polls, snapshot
from benchmarks.report import Report
from benchmarks.stand import Stand, machine, standing

#: Benchmarks by name; each gets its own stand and the number of counted rounds.
BENCHMARKS: dict[str, Callable[[Stand, int], Report]] = {
    "polls": lambda stand, rounds: polls.measure(stand, rounds=rounds),
    "snapshot": lambda stand, rounds: snapshot.measure(stand, rounds=rounds),
    "claims": lambda stand, rounds: claims.measure(stand, rounds=rounds),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the named benchmarks, or all; print the results and optionally write them as JSON."""
    asked = _parser().parse_args(arguments)
    console = Console()
    found = {}
    for name in asked.names or BENCHMARKS:
        with standing() as stand:
            console.print(machine(stand), highlight=False, soft_wrap=True)
            report = BENCHMARKS[name](stand, asked.rounds)
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all readings to this file")
    return parser


if __name__ == "__main__":
    main()
