"""The file of claims is read whole or not at all."""

from pathlib import Path

import pytest

from tests.proofs.claims import BadClaim, Claim, read

HEAD = '[[group]]\nname = "g"\nagainst = "abc"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "proofs.toml"
    path.write_text(text)
    return path


def test_a_group_tells_its_tests_and_the_files_that_they_need(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""{HEAD}also = ["tests/a/far.py"]
        [[group.claim]]
        number = "1"
        promise = "p"
        tests = ["tests/a/test_b.py::c[1]", "tests/a/test_b.py::d"]
        [[group.claim]]
        number = "2"
        promise = "q"
        cannot = "no command"
        """,
    )

    (group,) = read(path)

    assert group.files == ["tests/a/far.py", "tests/a/test_b.py"]
    assert (group.moved, group.seconds) == ({}, 60.0)
    assert group.claims[1] == Claim(number="2", promise="q", cannot="no command")


def test_the_shipped_claims_can_be_read() -> None:
    groups = read(Path(__file__).parents[2] / "proofs.toml")

    assert groups
    assert all(group.against for group in groups)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[group]]\nname = "g"', r"group\[0\].against: None is not text"),
        (f"{HEAD}agains = 1", r"group\[0\]: unknown agains; known are against, also"),
        (f'{HEAD}also = "x"', r"group\[0\].also: 'x' is not a list of text"),
        (f"{HEAD}moved = {{ a = 1 }}", r"group\[0\].moved: .* is not a table of text"),
        (
            f'{HEAD}[[group.claim]]\nnumber = "1"\npromise = "p"',
            r"claim\[0\]: give either tests or, in cannot, the reason",
        ),
        (
            f'{HEAD}[[group.claim]]\nnumber = "1"\npromise = "p"\ntests = ["tests/a.py"]',
            r"claim\[0\].tests: 'tests/a.py' is not a node id",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadClaim, match=message):
        read(written(tmp_path, text))
