"""A job as the outside sees it: never ahead of itself, never behind, never telling a secret."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import SecretStr

from models.rows.outputs import OutputRow
from models.state import JobState
from models.vault import Vault
from tasks.view import ShownJob, job_view, progress_percent

VAULT = Vault((SecretStr("a-key-that-only-tests-use-0123456789"),))
BORN = datetime(2026, 1, 1, tzinfo=UTC)
seconds = st.floats(0, 1e6)


def shown_job(**changes: Any) -> ShownJob:
    """A job as `read_jobs` gives it, accepted ten seconds ago."""
    plan = {
        "model": "gen4.5",
        "duration_seconds": 5,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "width": 1280,
        "height": 720,
    }
    base: dict[str, Any] = {
        "id": "job_vid_1",
        "tenant": "acme",
        "request_id": "req_vid_1",
        "state": JobState.PROCESSING,
        "model": "gen4.5",
        "prompt": "a quiet sea",
        "request": {"prompt": "a quiet sea", "count": 1},
        "plan": plan,
        "typical_seconds": 90.0,
        "estimated_cost_micros": 600_000,
        "unknown_policy": "at_most_once",
        "progress_percent": 0,
        "progress_source": "estimated",
        "deadline_at": BORN + timedelta(days=1),
        "created_at": BORN,
        "accepted_at": BORN,
        "outputs": (),
        "choice": 0,
        "hops": (),
        "now": BORN + timedelta(seconds=10),
    }
    unset = {each.name: None for each in fields(ShownJob)}
    return ShownJob(**unset | base | changes)


def view(**changes: Any) -> dict[str, Any]:
    return job_view(shown_job(**changes), api_url="https://video.test", vault=VAULT)


def output(**changes: Any) -> OutputRow:
    """A stored output, from the JSON that it is aggregated as."""
    base = {"id": "out_1", "position": 0, "state": "stored", "error": None}
    file = {"sha256": "ab" * 32, "bytes": 9, "content_type": "video/mp4"}
    film = {"duration_seconds": 5.0, "fps": 24.0, "width": 1280, "height": 720}
    ends = {"recovered_at": None, "deleted_at": None, "stills_bytes": None}
    return OutputRow.from_json(base | file | film | ends | changes)


# -- progress -------------------------------------------------------------------------------------


@given(looks=st.lists(st.tuples(seconds, st.integers(0, 99)), min_size=2), typical=seconds)
def test_estimated_progress_never_decreases_whenever_it_is_asked_for(
    looks: list[tuple[float, int]], typical: float
) -> None:
    """Also not by the transitions: to storing after the last poll, and to a failure."""
    elapsed, written, shown = 0.0, 0, 0
    states = [JobState.PROCESSING] * (len(looks) - 1) + [JobState.STORING]
    for (later, polled), state in zip(looks, states, strict=True):
        elapsed += later
        written = max(written, polled) if state is JobState.PROCESSING else written
        now = BORN + timedelta(seconds=elapsed)
        job = shown_job(state=state, progress_percent=written, typical_seconds=typical, now=now)
        assert shown <= progress_percent(job) <= 99
        shown = progress_percent(job)
    ended = replace(job, state=JobState.FAILED, finished_at=now, now=now + timedelta(days=9))
    assert progress_percent(ended) == shown


@given(elapsed=seconds, written=st.integers(0, 99))
def test_reported_progress_is_shown_as_it_was_reported(elapsed: float, written: int) -> None:
    now = BORN + timedelta(seconds=elapsed)
    job = shown_job(progress_source="reported", progress_percent=written, now=now)
    assert progress_percent(job) == written


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.SUBMITTING])
def test_a_job_that_no_provider_has_taken_makes_no_progress(state: JobState) -> None:
    shown = view(state=state, accepted_at=None, now=BORN + timedelta(days=1))
    assert shown["progress_percent"] == 0


def test_a_complete_job_is_at_100() -> None:
    done = view(state=JobState.COMPLETE, progress_percent=100, finished_at=BORN)
    assert done["progress_percent"] == 100


@pytest.mark.parametrize("state", JobState)
def test_remaining_seconds_are_told_only_while_they_mean_something(state: JobState) -> None:
    finished = BORN if state.is_final else None
    shown = view(state=state, finished_at=finished)
    assert ("estimated_remaining_seconds" in shown) is (
        state in {JobState.SUBMITTING, JobState.PROCESSING}
    )


# -- the rest -------------------------------------------------------------------------------------


def test_a_complete_job_gives_each_output_a_link_of_its_own() -> None:
    shown = view(
        state=JobState.COMPLETE,
        progress_percent=100,
        finished_at=BORN,
        cost_micros=300_000,
        outputs=(
            output(position=0, state="failed", error={"code": "no_video", "message": "none"}),
            output(position=1),
        ),
    )
    failed, stored = shown["outputs"]
    assert failed == {
        "index": 0,
        "status": "failed",
        "error": {"code": "no_video", "message": "none"},
    }
    assert stored["url"].startswith("https://video.test/v1/video/generations/job_vid_1/content/1?")
    assert shown["video_url"] == stored["url"]
    assert shown["cost_usd"] == 0.3


def test_a_video_that_was_deleted_has_no_link_and_the_next_one_is_the_jobs() -> None:
    shown = view(
        state=JobState.COMPLETE,
        progress_percent=100,
        finished_at=BORN,
        cost_micros=600_000,
        outputs=(
            output(position=0, deleted_at="2026-02-01T01:00:00.5+01:00"),
            output(position=1),
        ),
    )
    deleted, stored = shown["outputs"]
    assert deleted == {"index": 0, "status": "deleted", "deleted_at": "2026-02-01T00:00:00.500Z"}
    assert shown["video_url"] == stored["url"]


def test_a_recovered_video_says_so_and_its_job_stays_failed() -> None:
    shown = view(
        state=JobState.FAILED,
        finished_at=BORN,
        cost_micros=0,
        outputs=(output(recovered_at="2026-02-01T00:00:00+00:00"),),
    )
    (recovered,) = shown["outputs"]
    assert (recovered["status"], recovered["recovered_at"]) == (
        "stored",
        "2026-02-01T00:00:00.000Z",
    )
    assert (shown["status"], shown["cost_usd"]) == ("failed", 0.0)


def test_a_job_that_goes_on_shows_no_outputs_and_no_cost() -> None:
    shown = view(outputs=(output(state="ready"),))
    assert not {"outputs", "video_url", "cost_usd", "error"} & set(shown)


def test_secrets_are_in_no_view() -> None:
    webhook = VAULT.seal_json({"url": "https://hooks.test/?token=t0ken", "secret": "s3cret"})
    for state in JobState:
        shown = str(
            view(
                state=state,
                finished_at=BORN if state.is_final else None,
                webhook=webhook,
                outputs=(output(source="sealed-source", key="2026/01/secret-key.mp4"),),
                error={"fault": "unknown", "code": "c", "message": "m", "retry_after": 3},
            )
        )
        for secret in ("t0ken", "s3cret", "sealed", "secret-key", "hooks.test", str(webhook)):
            assert secret not in shown
