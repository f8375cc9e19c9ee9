"""Compares this tree with another commit: `python -m benchmarks.against REF [name …]`.

The trees take turns, and this one runs twice a round, so that the ratio between the commits can be
read against the ratio of this tree to itself. Both run with the packages installed here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

#: Seconds that one run of the named benchmarks may take.
RUN_BOUND = 900.0
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Ratios:
    """What one contender showed, round by round."""

    #: The other commit's rate over this tree's, and this tree's second run over its first.
    other: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)

    @property
    def is_within_noise(self) -> bool:
        """Whether the commits differ by no more than this tree differs from itself."""
        return min(self.same) <= median(self.other) <= max(self.same)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both trees in turns and print the ratio of each contender's rates."""
    asked = _parser().parse_args(arguments)
    found: dict[str, Ratios] = {}
    with _checkout(asked.ref) as other:
        for _ in range(asked.rounds):
            first, theirs, second = (_rates(tree, asked.names) for tree in (_ROOT, other, _ROOT))
            for name in first.keys() & theirs.keys():
                ratios = found.setdefault(name, Ratios())
                ratios.other.append(theirs[name] / first[name])
                ratios.same.append(second[name] / first[name])
    _show(found, ref=asked.ref)


def _rates(tree: Path, names: Sequence[str]) -> dict[str, float]:
    """Each contender's rate in one run of the benchmarks of a tree, by "benchmark: contender"."""
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "benchmarks", *names, "--rounds", "1"]
        subprocess.run(
            [*command, "--json", str(report)],
            cwd=tree,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=RUN_BOUND,
        )
        reports = json.loads(report.read_text())
    return {
        f"{name}: {contender['name']}": reading["done"] / reading["seconds"]
        for name, benchmark in reports.items()
        for contender in benchmark["contenders"]
        for reading in contender["readings"]
    }


@contextmanager
def _checkout(ref: str) -> Iterator[Path]:
    """A working tree of the commit that is gone when the block ends."""
    git = ("git", "-C", str(_ROOT), "worktree")
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), ref], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _show(found: dict[str, Ratios], *, ref: str) -> None:
    table = Table(title=f"{ref} / this tree", title_justify="left")
    for heading in ("contender", "median ratio", "this tree / itself", "within noise"):
        table.add_column(heading)
    for name, ratios in sorted(found.items()):
        spread = f"{min(ratios.same):.2f} to {max(ratios.same):.2f}"
        verdict = "yes" if ratios.is_within_noise else "NO"
        table.add_row(name, f"{median(ratios.other):.2f}", spread, verdict)
    Console().print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against", description="Compares this tree with another commit."
    )
    parser.add_argument("ref", metavar="REF", help="a commit, tag or branch")
    parser.add_argument("names", nargs="*", metavar="name", default=["polls"], help="benchmarks")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    main()
