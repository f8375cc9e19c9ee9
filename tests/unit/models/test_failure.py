"""Failures as JSON: read back as they were, and in part where a newer version wrote them."""

import hypothesis.strategies as st
from hypothesis import given

from models.failure import Failure, Fault
from models.state import PUBLIC_STATUS, JobState, public_status

words = st.text(min_size=1)


@given(st.builds(Failure, fault=st.sampled_from(Fault), code=words, message=words))
def test_a_failure_is_read_as_it_was_written(failure: Failure) -> None:
    assert Failure.from_json(failure.as_json()) == failure


def test_what_only_a_newer_version_knows_is_passed_over() -> None:
    written = {"fault": "overruled", "code": "new", "message": "words", "by": {"name": 1}}
    expected = Failure(fault=Fault.UNKNOWN, code="new", message="words")
    assert Failure.from_json(written) == expected
    assert Failure.from_json({"fault": {}}).code == "internal_error"


def test_a_state_that_only_a_newer_version_knows_is_shown_as_at_work() -> None:
    assert public_status("rehearsing") == "processing"
    assert all(public_status(str(state)) == PUBLIC_STATUS[state] for state in JobState)
