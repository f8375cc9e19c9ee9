"""Jobs' events for Flower: what they say, and that nothing waits for them."""

import ast
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from metrics.numbers import Numbers
from models.moves import Move
from models.state import JobState
from tasks import job_events, measures
from tasks.job_events import Teller, event_of
from worker.flower import forget_api, masked


def move(state: str) -> Move:
    return Move(job="job_vid_1", tenant="acme", model="gen4.5", state=state, age=12.5)


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.STORING])
def test_every_move_but_one_is_an_event_that_flower_shows_whole(state: JobState) -> None:
    event = event_of(move(state), now=1.0)

    assert event is not None
    assert event["uuid"] == "job_vid_1"
    assert event["name"] == "video.generation"
    # The guard hides what it does not know: of these nothing.
    assert ast.literal_eval(masked(event)["kwargs"]) == {"model": "gen4.5", "tenant": "acme"}


def test_an_end_tells_how_long_the_job_took() -> None:
    ends = [event_of(move(state), now=1.0) for state in ("complete", "failed")]

    assert [end and end["runtime"] for end in ends] == [12.5, 12.5]
    assert event_of(move("storing"), now=1.0) is None


def test_a_broker_that_hangs_costs_events_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = Numbers(measures.FAMILIES)
    monkeypatch.setattr(job_events, "numbers", numbers)
    monkeypatch.setattr(job_events, "_MOST_WAITING", 10)
    released, hangs = threading.Event(), threading.Event()

    def send(_: object, events: list[object]) -> bool:
        hangs.set()
        return released.wait(30) and bool(events)

    monkeypatch.setattr(Teller, "_send", send)
    teller = Teller("main@host")
    teller.tell([move("processing")])
    assert hangs.wait(10)

    teller.tell([move("processing")] * 25)

    dropped = {family.name: sums for family, sums in numbers.read()}["longtake_job_events_dropped"]
    assert dropped[0].cells == [15.0]
    released.set()
    teller.close()


def test_a_broker_that_is_away_is_counted_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = Numbers(measures.FAMILIES)
    monkeypatch.setattr(job_events, "numbers", numbers)

    def acquire(**_: object) -> None:
        raise OSError

    monkeypatch.setattr(job_events, "app", SimpleNamespace(pool=SimpleNamespace(acquire=acquire)))

    assert not Teller("main@host")._send([{"type": "task-sent"}] * 3)  # noqa: SLF001
    dropped = {family.name: sums for family, sums in numbers.read()}["longtake_job_events_dropped"]
    assert dropped[0].cells == [3.0]


def test_an_api_process_is_no_worker_and_a_worker_is_one() -> None:
    state = SimpleNamespace(
        workers={"api@host": 1, "main@host": 2}, counter=Counter({"api@host": 1, "main@host": 1})
    )
    for hostname in ("api@host", "main@host"):
        forget_api(state, hostname)

    assert state.workers == {"main@host": 2}
    assert set(state.counter) == {"main@host"}
