"""The whole command, over a small repository whose old commit has a defect."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.proofs.__main__ import main

OLD = {"shop.py": "def price():\n    return 2\n"}
NEW = {"shop.py": "LIMIT = 1\n\ndef price():\n    return 1\n"}
#: By name: a test of the shop.
TESTS = {
    "honest": """
def test_it():
    import shop
    assert shop.price() == 1
""",
    "in_words": """
import pytest, shop
def test_it():
    if shop.price() > 1:
        pytest.fail("too dear")
""",
    "importer": """
from shop import LIMIT
def test_it():
    assert LIMIT == 1
""",
    "toucher": """
import shop
def test_it():
    assert shop.LIMIT == 1
""",
    "passer": """
import shop
def test_it():
    assert shop.price() < 3
""",
    "sleeper": """
import shop, time
def test_it():
    time.sleep(60 if shop.price() == 2 else 0)
    assert shop.price() == 1
""",
    "fixture": """
import pytest
@pytest.fixture
def price():
    import shop
    assert shop.price() == 1
def test_it(price):
    assert price is None
""",
}
#: What is said of those that prove nothing.
ACCIDENTS = {
    "importer": "its file can't be read: ImportError",
    "toucher": "AttributeError",
    "passer": "NOT SO: passes",
    "sleeper": "TookTooLong",
    "fixture": "NOT SO: setup",
}


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(
        ["git", "-C", str(root), *who, *arguments],  # noqa: S607 - the git of this machine
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()


def written(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose first commit has the defect; the mended tree is not committed."""
    git(tmp_path, "init", "--quiet")
    written(tmp_path, OLD)
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "old")
    written(tmp_path, NEW)
    written(tmp_path, {f"tests/test_{name}.py": text for name, text in TESTS.items()})
    return tmp_path


def claimed(root: Path, *names: str, moved: str = "", seconds: float = 60) -> int:
    """The exit status of a run over the tests of these names."""
    lines = [f'[[group]]\nname = "g"\nagainst = "{first(root)}"\nseconds = {seconds}']
    lines += [f"[group.moved]\n{moved}"] if moved else []
    for name in names:
        test = f"tests/test_{name}.py::test_it"
        lines.append(f'[[group.claim]]\nnumber = "1"\npromise = "p"\ntests = ["{test}"]')
    written(root, {"claims.toml": "\n".join(lines)})
    return main(["--root", str(root), "--claims", str(root / "claims.toml")])


def first(root: Path) -> str:
    return git(root, "rev-list", "--max-parents=0", "HEAD")


def test_proofs_that_hold_end_well_and_leave_no_tree_behind(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claimed(root, "honest", "in_words") == 0

    said = capsys.readouterr().out
    assert "fails test_honest.py:4: assert 2 == 1" in said
    assert "too dear" in said
    assert "2 tests, of which 0 are not as claimed." in said
    assert len(git(root, "worktree", "list").splitlines()) == 1


def test_what_fails_by_accident_or_not_at_all_proves_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claimed(root, *ACCIDENTS, seconds=5) == 1

    said = capsys.readouterr().out
    assert "5 tests, of which 5 are not as claimed." in said
    assert [words for words in ACCIDENTS.values() if words not in said] == []


def test_a_proof_imports_from_where_a_module_was(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a module that has moved since the old commit, and its test with it
    (root / "shop.py").rename(root / "store.py")
    written(root, {"tests/test_honest.py": TESTS["honest"].replace("shop", "store")})

    assert claimed(root, "honest") == 1
    assert claimed(root, "honest", moved='"store" = "shop"') == 0
    assert claimed(root, "honest", moved='"stall" = "shop"') == 2
    assert "no test has 'stall', which is said to have moved" in capsys.readouterr().err


def test_a_commit_that_is_not_here_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims = f'[[group]]\nname = "g"\nagainst = "{"f" * 40}"\n'
    claims += (
        '[[group.claim]]\nnumber = "1"\npromise = "p"\ntests = ["tests/test_honest.py::test_it"]'
    )
    written(root, {"claims.toml": claims})
    assert main(["--root", str(root), "--claims", str(root / "claims.toml")]) == 2

    assert "can't be checked out" in capsys.readouterr().err
