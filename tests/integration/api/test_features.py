"""The list of features names tests that there are, leaves no field out, and is what is printed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.features.rows import PAGE, README, ROOT, BadRow, page, read, table, within
from tests.integration.api.conftest import Api

SYSTEMS = read()


def test_every_row_is_shown_by_tests_that_are_collected() -> None:
    named = {test for system in SYSTEMS for each in system.features for test in each.tests}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", *files]
    told = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    collected = {line.partition("[")[0] for line in told.stdout.splitlines() if "::" in line}

    assert told.returncode == 0, told.stdout + told.stderr
    assert named - collected == set()


@pytest.mark.anyio
async def test_every_field_of_a_system_stands_in_a_row(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    for system in SYSTEMS:
        operations = [
            operation
            for path in document["paths"].values()
            for operation in path.values()
            if operation.get("tags") == [system.name]
        ]
        assert operations, system.name
        fields = set[str]()
        for operation in operations:
            fields |= _fields(operation.get("requestBody", {}), document)
            for status, answer in operation["responses"].items():
                fields |= _fields(answer, document) if status.startswith("2") else set()
        told = {name for each in system.features for name in each.fields}
        assert fields - told == set(), system.name


def _fields(schema: Any, document: Any, seen: tuple[str, ...] = ()) -> set[str]:
    """The names of all properties within a schema."""
    if isinstance(schema, list):
        return {name for each in schema for name in _fields(each, document, seen)}
    if not isinstance(schema, dict):
        return set()
    if isinstance(name := schema.get("$ref"), str):
        found = document["components"]["schemas"][name.rpartition("/")[2]]
        return set() if name in seen else _fields(found, document, (*seen, name))
    own = schema.get("properties")
    inner = {name for each in schema.values() for name in _fields(each, document, seen)}
    return inner | (set(own) if isinstance(own, dict) else set())


def test_the_pages_are_as_the_rows_make_them() -> None:
    text = README.read_text(encoding="utf-8")

    assert PAGE.read_text(encoding="utf-8") == page(SYSTEMS), "`make features` writes it"
    assert text == within(text, table(SYSTEMS)), "`make features` writes it"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{ feature = "a" }', "either test or not_served"),
        ('{ feature = "a", test = "b", not_served = "c" }', "either test or not_served"),
        ('{ feature = "a", test = [] }', "either test or not_served"),
        ('{ test = "b" }', "needs a feature"),
        ('{ feature = "a", tests = "b" }', "has tests; allowed are feature"),
    ],
)
def test_a_row_without_a_test_or_a_reason_is_refused(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "features.toml"
    path.write_text(
        f'[[system]]\nname = "X"\ntests = "t"\nrequest = [{row}]\nanswer = []\nerrors = []\n'
        "programs = []\n"
    )

    with pytest.raises(BadRow, match=words):
        read(path)


def test_a_system_without_a_group_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.toml"
    path.write_text('[[system]]\nname = "X"\ntests = "t"\nrequest = []\n')

    with pytest.raises(BadRow, match="the system X lacks answer, errors, programs"):
        read(path)
