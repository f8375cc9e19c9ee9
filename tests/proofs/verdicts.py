"""What a witness's facts come to: whether a test fails by its own assertion, or passes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: One line of a witness's report.
Fact = Mapping[str, Any]

#: What an assertion raises; everything else is an accident, which proves nothing.
ASSERTIONS = frozenset({"AssertionError", "Failed"})
NEVER_RAN = "was not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one test, with all of its cases, ended in one tree."""

    is_so: bool
    words: str


def fails_by_assertion(facts: Sequence[Fact], test: str, *, files: Collection[str]) -> Verdict:
    """Whether every case of the test fails by an assertion that stands in one of the `files`."""
    cases = _cases(facts, test)
    if not cases:
        return Verdict(is_so=False, words=_why_not(facts, test))
    verdicts = [_failed_case(case, files=files) for case in cases]
    return next((each for each in verdicts if not each.is_so), verdicts[0])


def passes(facts: Sequence[Fact], test: str) -> Verdict:
    """Whether every case of the test passes, its fixtures included."""
    cases = _cases(facts, test)
    if not cases:
        return Verdict(is_so=False, words=_why_not(facts, test))
    for case in cases:
        for fact in case:
            if fact["outcome"] != "passed":
                return Verdict(is_so=False, words=_told(fact))
        if not any(fact["when"] == "call" for fact in case):
            return Verdict(is_so=False, words=NEVER_RAN)
    return Verdict(is_so=True, words="passes")


def _failed_case(facts: Sequence[Fact], *, files: Collection[str]) -> Verdict:
    ended = next((fact for fact in facts if fact["when"] == "call"), None)
    if ended is None:
        accident = next((fact for fact in facts if fact["outcome"] != "passed"), None)
        return Verdict(is_so=False, words=_told(accident) if accident else NEVER_RAN)
    if ended["outcome"] == "passed":
        return Verdict(is_so=False, words="passes")
    is_own = _is_assertion(ended) and ended.get("file") in files
    return Verdict(is_so=is_own, words=_told(ended))


def _is_assertion(fact: Fact) -> bool:
    return str(fact.get("error", "")).rpartition(".")[2] in ASSERTIONS


def _cases(facts: Sequence[Fact], test: str) -> list[list[Fact]]:
    """The facts of each case of a test, in the order in which they were run."""
    cases: dict[str, list[Fact]] = {}
    for fact in facts:
        node = str(fact["node"])
        if fact["when"] != "collect" and test in (node, node.partition("[")[0]):
            cases.setdefault(node, []).append(fact)
    return list(cases.values())


def _why_not(facts: Sequence[Fact], test: str) -> str:
    file = test.partition("::")[0]
    for fact in facts:
        if fact["when"] == "collect" and fact["node"] == file:
            return f"its file can't be read: {fact['text']}"
    return NEVER_RAN


def _told(fact: Fact) -> str:
    """One fact in words: where, and what."""
    if "error" not in fact:
        return str(fact["outcome"])
    step = "" if fact["when"] == "call" else f"{fact['when']}: "
    file = str(fact["file"]).rpartition("/")[2]
    text = str(fact["text"])
    kind = "" if _is_assertion(fact) else f"{str(fact['error']).rpartition('.')[2]}: "
    return f"{step}{file}:{fact['line']}: {kind}{text}"
