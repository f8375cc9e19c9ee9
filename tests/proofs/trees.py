"""Trees of other commits, checked out for a moment, and pytest run in them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.proofs import witness
from tests.proofs.verdicts import Fact

#: Seconds that git may take for one command, and that pytest may take to start and to end.
GIT_BOUND, OVERHEAD = 120.0, 120.0


class NoTree(Exception):
    """A commit can't be checked out; the message says why."""


@contextmanager
def tree_of(root: Path, commit: str) -> Iterator[Path]:
    """A worktree of `root`'s repository at a commit, for as long as the block lasts.

    Raises:
        NoTree: the history here has no such commit.
    """
    with tempfile.TemporaryDirectory(prefix="longtake-proofs-") as folder:
        tree = Path(folder).resolve() / "tree"
        answer = _git(root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        if answer.returncode:
            raise NoTree(
                f"{commit} can't be checked out (a shallow clone needs `git fetch --unshallow`): "
                f"{answer.stderr.strip()}"
            )
        _describe(tree)
        try:
            yield tree
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))


def _describe(tree: Path) -> None:
    """Write the metadata of its distribution beside its code, which asks for its own version."""
    described = tree / "pyproject.toml"
    if not described.is_file():
        return
    project = tomllib.loads(described.read_text())["project"]
    name, version = project["name"], project["version"]
    folder = tree / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / "METADATA").write_text(text)


def overlay(source: Path, files: Sequence[str], tree: Path, *, moved: Mapping[str, str]) -> None:
    """Copy test files into the same places of an older tree, importing from its modules.

    Raises:
        NoTree: a file is not there, or no file has a text that is said to have moved.
    """
    unused = set(moved)
    for file in files:
        if not (source / file).is_file():
            raise NoTree(f"{file} is not in the tree that the tests are taken from")
        text = (source / file).read_text()
        for now, then in moved.items():
            if now in text:
                unused.discard(now)
                text = text.replace(now, then)
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        (tree / file).write_text(text)
    if unused:
        raise NoTree(f"no test has {min(unused)!r}, which is said to have moved")


def run(tree: Path, tests: Sequence[str], *, seconds: float) -> list[Fact]:
    """What became of the tests, each of which may take so many seconds, in a tree.

    What has not ended in time is missing from the facts.
    """
    files = sorted({test.partition("::")[0] for test in tests})
    with tempfile.TemporaryDirectory(prefix="longtake-proofs-") as name:
        folder = Path(name)
        shutil.copyfile(witness.__file__, folder / "proofs_witness.py")
        report = folder / "report.jsonl"
        report.touch()
        environment = _environment(tree, folder) | {
            witness.REPORT: str(report),
            witness.WANTED: json.dumps(list(tests)),
            witness.SECONDS: str(seconds),
        }
        _pytest(tree, files, environment, bound=OVERHEAD + seconds * len(tests))
        return [json.loads(line) for line in report.read_text().splitlines()]


def _pytest(tree: Path, files: Sequence[str], environment: dict[str, str], *, bound: float) -> None:
    """One run, of whose output nothing is kept: the witness tells."""
    command = (
        *(sys.executable, "-m", "pytest", "--quiet", "--rootdir", str(tree)),
        *("-p", "proofs_witness", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("-m", "", "--continue-on-collection-errors", *files),
    )
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            process.wait(bound)
        except subprocess.TimeoutExpired:
            process.terminate()  # first, so that fixtures may stop their servers
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _environment(tree: Path, plugin: Path) -> dict[str, str]:
    """Ours, with the tree's packages before those that are installed: also for child processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return kept | {
        "PYTHONPATH": os.pathsep.join((str(tree), str(plugin))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(root), *arguments],  # noqa: S607 - the git of this machine
        check=False,
        capture_output=True,
        text=True,
        timeout=GIT_BOUND,
    )
