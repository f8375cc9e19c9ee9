"""The command `python -m tests.proofs`: each proof fails in the old tree and passes in this one."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.harness.tables import table
from tests.proofs.claims import BadClaim, Claim, Group, read
from tests.proofs.trees import NoTree, overlay, run, tree_of
from tests.proofs.verdicts import Verdict, fails_by_assertion, passes

ROOT = Path(__file__).resolve().parents[2]
#: The longest cell of the table, in characters.
WIDEST = 90


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each group; 0 if every row is as it claims, 1 if not, 2 if none can be."""
    asked = _parser().parse_args(arguments)
    try:
        groups = read(asked.claims)
        are_so = [_shown(asked.root.resolve(), group) for group in groups]
    except (BadClaim, NoTree) as error:
        sys.stderr.write(f"proofs: {error}\n")
        return 2
    return 0 if all(are_so) else 1


def _shown(root: Path, group: Group) -> bool:
    """Whether all of a group is so; its table is printed."""
    sys.stdout.write(f"\n{group.name}, against {group.against}\n\n")
    if not group.claims:
        sys.stdout.write("Nothing is claimed yet.\n")
        return True
    before, now = _verdicts(root, group)
    rows = list(_rows(group.claims, before, now))
    sys.stdout.write(table(("number", "promise, test", f"on {group.against}", "now"), rows) + "\n")
    wrong = [test for test in group.tests if not (before[test].is_so and now[test].is_so)]
    sys.stdout.write(f"\n{len(group.tests)} tests, of which {len(wrong)} are not as claimed.\n")
    for test in wrong:
        sys.stdout.write(f"  {test}\n    then: {before[test].words}\n    now: {now[test].words}\n")
    return not wrong


def _verdicts(root: Path, group: Group) -> tuple[dict[str, Verdict], dict[str, Verdict]]:
    """Of each test: how it ends in the old tree, and in this one."""
    if not group.tests:
        return {}, {}
    with tree_of(root, group.against) as old:
        overlay(root, group.files, old, moved=group.moved)
        before = run(old, group.tests, seconds=group.seconds)
        now = run(root, group.tests, seconds=group.seconds)
    return (
        {test: fails_by_assertion(before, test, files=group.files) for test in group.tests},
        {test: passes(now, test) for test in group.tests},
    )


def _rows(
    claims: Sequence[Claim], before: dict[str, Verdict], now: dict[str, Verdict]
) -> Iterator[tuple[str, ...]]:
    for claim in claims:
        yield (claim.number, _cut(claim.promise), "", "")
        if claim.cannot:
            yield ("", _cut(f"  can't be shown so: {claim.cannot}"), "", "")
        for test in claim.tests:
            yield ("", f"  {test}", _told(before[test], "fails"), _told(now[test], ""))


def _told(verdict: Verdict, expected: str) -> str:
    if not verdict.is_so:
        return _cut(f"NOT SO: {verdict.words}")
    return _cut(f"{expected} {verdict.words}".strip())


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proofs",
        description="Runs each proof against an old commit, where it must fail by its own "
        "assertion, and against the present tree, where it must pass.",
    )
    parser.add_argument("--claims", type=Path, default=ROOT / "tests/proofs.toml")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    return parser


if __name__ == "__main__":
    sys.exit(main())
