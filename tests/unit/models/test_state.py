"""The state machines, as data: sound in themselves, and drawn as they are."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from models.state import (
    ATTEMPT_NEXT,
    FINAL_ATTEMPT_STATES,
    FINAL_JOB_STATES,
    JOB_NEXT,
    OUTPUT_NEXT,
    PUBLIC_STATUS,
    AttemptState,
    JobState,
    OutputState,
    attempt_sources,
    job_sources,
    output_sources,
)

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"

MACHINES: list[tuple[Any, Any, Any, Any]] = [
    (JobState, JOB_NEXT, job_sources, JobState.PENDING),
    (AttemptState, ATTEMPT_NEXT, attempt_sources, AttemptState.PLANNED),
    (OutputState, OUTPUT_NEXT, output_sources, OutputState.EXPECTED),
]
EACH = pytest.mark.parametrize(
    ("states", "following", "sources", "first"), MACHINES, ids=["job", "attempt", "output"]
)


@EACH
def test_every_state_says_what_may_follow_it(
    states: type[StrEnum], following: Any, sources: Any, first: StrEnum
) -> None:
    assert set(following) == set(states)
    for state in states:
        # What has ended stays as it is, save that evidence makes an attempt accepted.
        after = following[state] - ({AttemptState.ACCEPTED} if states is AttemptState else set())
        assert state.is_final is (not after)  # type: ignore[attr-defined]
        assert state not in following[state], f"{state} may not follow itself"


@EACH
def test_every_state_can_be_reached_and_an_end_can_be_reached_from_it(
    states: type[StrEnum], following: Any, sources: Any, first: StrEnum
) -> None:
    assert _reachable(following, first) == set(states)
    finals = {state for state in states if state.is_final}  # type: ignore[attr-defined]
    for state in states:
        assert _reachable(following, state) & finals


@EACH
def test_sources_are_the_table_read_backwards(
    states: type[StrEnum], following: Any, sources: Any, first: StrEnum
) -> None:
    pairs = {(state, after) for state, many in following.items() for after in many}
    assert {(state, to) for to in states for state in sources(to)} == pairs


@given(st.lists(st.sampled_from(JobState)))
def test_whatever_is_asked_a_job_moves_forward_and_stays_where_it_ended(
    asked: list[JobState],
) -> None:
    order = list(JobState)
    state = JobState.PENDING
    for to in asked:
        if state in job_sources(to):
            assert not state.is_final
            assert order.index(to) > order.index(state)
            state = to


def test_what_was_sent_without_an_answer_can_never_be_planned_again() -> None:
    assert AttemptState.PLANNED not in _reachable(ATTEMPT_NEXT, AttemptState.UNKNOWN)
    assert AttemptState.SENT not in _reachable(ATTEMPT_NEXT, AttemptState.UNKNOWN)


def test_evidence_makes_every_attempt_accepted_but_those_that_have_some() -> None:
    without = set(AttemptState) - {AttemptState.ACCEPTED, AttemptState.SUCCEEDED}
    assert attempt_sources(AttemptState.ACCEPTED) == without
    assert {state for state in AttemptState if state.is_final} == FINAL_ATTEMPT_STATES


def test_every_job_state_has_a_public_word_and_only_final_ones_look_final() -> None:
    assert set(PUBLIC_STATUS) == set(JobState)
    assert set(PUBLIC_STATUS.values()) == {
        *("pending", "processing"),
        *FINAL_JOB_STATES,
    }
    for state, word in PUBLIC_STATUS.items():
        assert (word in FINAL_JOB_STATES) is state.is_final


@pytest.mark.parametrize(("heading", "following"), [("Job", JOB_NEXT), ("Attempt", ATTEMPT_NEXT)])
def test_the_diagram_in_architecture_md_is_the_machine(heading: str, following: Any) -> None:
    drawn = _diagram(heading)
    arrows = {(state, after) for state, many in following.items() for after in many}
    assert {(a, b) for a, b in drawn if "[*]" not in (a, b)} == arrows
    assert {a for a, b in drawn if b == "[*]"} == {state for state in following if state.is_final}
    assert {b for a, b in drawn if a == "[*]"} == {next(iter(following))}


def _reachable(following: Any, first: StrEnum) -> set[StrEnum]:
    seen, todo = {first}, [first]
    while todo:
        new = following[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def _diagram(heading: str) -> set[tuple[str, str]]:
    block = re.search(
        rf"^#+ {heading}\n+```mermaid\nstateDiagram-v2\n(.*?)```",
        ARCHITECTURE.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert block is not None, f"no state diagram under the heading {heading}"
    return set(re.findall(r"^\s*(\S+) --> (\S+)", block[1], re.MULTILINE))
