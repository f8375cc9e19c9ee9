"""A failure proves something only if it is the test's own assertion that failed."""

from typing import Any

import pytest

from tests.proofs.verdicts import Fact, fails_by_assertion, passes

FILE = "tests/a/test_b.py"
TEST = f"{FILE}::test_c"


def fact(when: str = "call", outcome: str = "failed", **more: Any) -> Fact:
    return {"node": TEST, "when": when, "outcome": outcome, **more}


SET_UP = fact("setup", "passed")
OWN = fact(error="AssertionError", text="assert 2 == 1", file=FILE, line=7)


def test_an_assertion_of_its_own_fails_as_claimed() -> None:
    verdict = fails_by_assertion([SET_UP, OWN], TEST, files=[FILE])

    assert verdict.is_so
    assert verdict.words == "test_b.py:7: assert 2 == 1"


def test_so_does_a_failure_in_words() -> None:
    failed = fact(error="_pytest.outcomes.Failed", text="paid twice", file=FILE, line=9)

    assert fails_by_assertion([SET_UP, failed], TEST, files=[FILE]).is_so


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ([fact(error="ImportError", text="no x", file=FILE, line=1)], "ImportError: no x"),
        ([fact(error="psycopg.errors.UndefinedColumn", text="x", file=FILE, line=1)], "Undefined"),
        (
            [fact(error="AssertionError", text="x", file="tasks/pump/pump.py", line=1)],
            "pump.py:1: x",
        ),
        ([fact("setup", error="AssertionError", text="x", file=FILE, line=1)], "setup: "),
        ([fact(outcome="passed")], "passes"),
        ([fact("setup", "skipped")], "skipped"),
        ([SET_UP], "was not run"),
        ([], "was not run"),
        ([{"node": FILE, "when": "collect", "text": "ImportError: no x"}], "file can't be read: I"),
        ([{**OWN, "node": f"{TEST}_and_more"}], "was not run"),
    ],
)
def test_nothing_else_does(facts: list[Fact], words: str) -> None:
    verdict = fails_by_assertion(facts, TEST, files=[FILE])

    assert not verdict.is_so
    assert words in verdict.words


def test_a_test_without_parameters_means_all_of_its_cases() -> None:
    one, other = {**OWN, "node": f"{TEST}[1]"}, {**OWN, "node": f"{TEST}[2]"}
    well = {**other, "outcome": "passed"}

    assert fails_by_assertion([one, other], TEST, files=[FILE]).is_so
    assert not fails_by_assertion([one, well], TEST, files=[FILE]).is_so
    assert fails_by_assertion([one, well], f"{TEST}[1]", files=[FILE]).is_so


def test_a_test_passes_only_together_with_its_fixtures() -> None:
    called = fact(outcome="passed")
    teardown = fact("teardown", error="ValueError", text="x", file="tests/conftest.py", line=3)

    assert passes([SET_UP, called, fact("teardown", "passed")], TEST).is_so
    assert (
        passes([SET_UP, called, teardown], TEST).words == "teardown: conftest.py:3: ValueError: x"
    )
    assert not passes([SET_UP, OWN], TEST).is_so
    assert not passes([fact("setup", "skipped")], TEST).is_so
    assert not passes([SET_UP], TEST).is_so
    assert not passes([], TEST).is_so
