"""The names of our packages are ours alone, and imports keep their direction."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conformance.driving import CLIENTS

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
FOREIGN = ROOT / "tests/conformance/foreign"
#: What pins each group of dependencies; the project's own are in that of "dev".
LOCKS = {
    group: ROOT / "requirements.lock" if group == "dev" else FOREIGN / f"{group}.lock"
    for group in PYPROJECT["dependency-groups"]
}
OURS = {name.removesuffix(".py") for name in SHIPPED}
#: Single modules, beyond the import linter.
MODULES = {name.removesuffix(".py") for name in SHIPPED if name.endswith(".py")}


def test_no_dependency_ships_one_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    clashes = {
        name: owners[name] for name in OURS & owners.keys() if owners[name] != ["longtake-server"]
    }
    assert not clashes


def test_every_list_of_our_packages_is_the_same() -> None:
    linted = set(PYPROJECT["tool"]["importlinter"]["root_packages"])
    typed = set(PYPROJECT["tool"]["mypy"]["files"])
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert linted - {"longtake"} | MODULES == OURS
    assert typed - {"client", "tests"} == set(SHIPPED)
    assert found - {"client"} == OURS - MODULES


def test_imports_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run(
        [linter, "--no-logo", "--no-cache"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout


def test_settings_import_nothing_of_ours() -> None:
    tree = ast.parse((ROOT / "settings.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & OURS


def test_what_celery_looks_through_is_empty() -> None:
    for package in ("worker", "stack", "stack/servers"):
        (sentence,) = ast.parse((ROOT / package / "__init__.py").read_text()).body
        assert isinstance(sentence, ast.Expr)


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_the_lock_pins_and_hashes_every_line_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index" not in text
    entries = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert entries
    assert all("==" in entry and entry.endswith("\\") for entry in entries)


def test_the_lock_of_node_packages_pins_and_hashes_each_and_names_no_host() -> None:
    text = (FOREIGN / "package-lock.json").read_text()
    assert "://" not in text
    (_, *packages) = json.loads(text)["packages"].values()
    assert packages
    assert all(package["version"] and package["integrity"] for package in packages)


@pytest.mark.parametrize("group", LOCKS)
def test_every_dependency_is_in_the_lock(group: str) -> None:
    asked = list(PYPROJECT["dependency-groups"][group])
    if group == "dev":
        asked += PYPROJECT["project"]["dependencies"]
    lock = LOCKS[group].read_text()
    for requirement in asked:
        name = requirement.split(";")[0].split("[")[0]
        name = name.translate(str.maketrans(dict.fromkeys("<>=", " "))).split()[0]
        assert f"\n{name}==" in lock, name


def test_every_client_that_needs_an_environment_has_one() -> None:
    makefile = (ROOT / "Makefile").read_text()
    clients, djangos = (
        set(re.search(rf"^{name} := (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index] # it is there
        for name in ("CLIENTS", "DJANGOS")
    )
    driven = {client.home.name for client in CLIENTS.values()}
    assert driven == clients
    assert clients | djangos == set(LOCKS) - {"dev"}


def test_tests_have_no_init_file() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("target", ["demo", "test", "check", "up", "bench", "chaos", "proofs"])
def test_make_has_the_commands_that_we_promise(target: str) -> None:
    answer = subprocess.run(
        ["make", "--dry-run", target],  # noqa: S607 - the make of this machine
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode == 0, answer.stderr
