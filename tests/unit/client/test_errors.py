"""Errors as values: they pass from one process to another, and show no secret."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from longtake import AsyncClient, Client, LongtakeError, errors
from longtake.results import Job, ServerEvent

JOB = Job.of({"id": "job_vid_1", "status": "failed", "error": {"code": "c", "message": "m"}})
DETAIL = {"type": "t", "code": "c", "errors": [{"line": 3, "code": "x", "message": "y"}]}


def classes(kind: type[LongtakeError] = LongtakeError) -> Iterator[type[LongtakeError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from classes(child)


def made(kind: Any) -> Any:
    if issubclass(kind, errors.APIError):
        return kind("no", status=429, detail=DETAIL, retry_after=2.5)
    if kind in {errors.JobFailed, errors.JobCancelled}:
        return kind(JOB)
    return kind("late", last=JOB) if kind is errors.WaitTimeout else kind("no")


@pytest.mark.parametrize("kind", sorted(set(classes()), key=str))
def test_an_error_passes_through_pickle_whole(kind: type[LongtakeError]) -> None:
    error = made(kind)
    error.job_id = "job_vid_1"

    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_an_event_does_not_show_its_data() -> None:
    event = ServerEvent(kind="final", id="1", data={"video_url": "https://h/?signature=abc"})

    assert "abc" not in repr(event)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_password_in_the_address_is_not_shown(kind: Any) -> None:
    assert "PASSWORD" not in repr(kind("lt_x", "http://user:PASSWORD@h"))
    with pytest.raises(ValueError, match="must begin with http") as raised:
        kind("lt_x", "user:PASSWORD@h")
    assert "PASSWORD" not in str(raised.value)
