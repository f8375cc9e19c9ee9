"""Numbers that processes share: what each counts is in the sum, also after it was replaced."""

import os
from collections.abc import Callable
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrics.numbers import Family, Numbers, crossed
from metrics.text import of_numbers, written
from models.moves import Move
from models.verbs import What
from tasks import measures
from tasks.outcomes.submitted import Outcome, word_of
from webhooks.send import Outcome as Delivered

CALLS = Family(name="calls", help="h", labels=("way",), series=crossed(["in", "out"]))
WAITS = Family(name="waits", help="h", buckets=(1.0, 2.0))


def samples(numbers: Numbers) -> dict[tuple[str, tuple[str, ...]], float]:
    text = written(of_numbers(numbers)).decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def forked(work: Callable[[], None]) -> None:
    """Do it in a child, which ends without a word as one that is killed."""
    if (child := os.fork()) == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_parent_tells_of_all_children_and_of_those_that_were_replaced() -> None:
    numbers = Numbers([CALLS, WAITS])
    numbers.share(8)

    def child(place: int) -> None:
        numbers.use(1 + place)
        numbers.add("calls", "in", by=10**place)
        numbers.observe(WAITS, value=1.5)

    numbers.add("calls", "out")
    for place in (0, 1, 1):  # the third takes the place of the second
        forked(lambda place=place: child(place))  # type: ignore[misc]

    found = samples(numbers)
    assert found["calls_total", ("in",)] == 1 + 10 + 10
    assert found["calls_total", ("out",)] == 1
    assert found["waits_count", ()] == 3
    assert found["waits_sum", ()] == 4.5


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_count_at_once_lose_nothing() -> None:
    numbers = Numbers([CALLS])
    numbers.share(8)
    ready, children = os.pipe(), []
    for place in range(4):
        if (child := os.fork()) == 0:
            numbers.use(1 + place)
            os.close(ready[1])
            os.read(ready[0], 1)  # until the parent has made all of them
            for _ in range(20_000):
                numbers.add("calls", "in")
            os._exit(0)
        children.append(child)
    for end in ready:
        os.close(end)

    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert samples(numbers)["calls_total", ("in",)] == 80_000


def test_a_histogram_counts_each_value_in_the_buckets_from_its_own_on() -> None:
    numbers = Numbers([WAITS])
    for value in (0.5, 1.0, 1.5, 7.0):
        numbers.observe(WAITS, value=value)

    found = samples(numbers)

    assert found["waits_bucket", ("1.0",)] == 2
    assert found["waits_bucket", ("2.0",)] == 3
    assert found["waits_bucket", ("+Inf",)] == found["waits_count", ()] == 4


def test_more_processes_than_regions_break_nothing() -> None:
    numbers = Numbers([CALLS])
    numbers.share(2)
    for place in range(5):
        numbers.use(place)
        numbers.add("calls", "in")

    assert samples(numbers)["calls_total", ("in",)] == 5


def test_what_is_not_listed_makes_no_series() -> None:
    numbers = Numbers([CALLS, WAITS])
    numbers.add("calls", "job_vid_1")
    numbers.add("runs")

    assert samples(numbers) == {
        ("waits_bucket", ("1.0",)): 0,
        ("waits_bucket", ("2.0",)): 0,
        ("waits_bucket", ("+Inf",)): 0,
        ("waits_count", ()): 0,
        ("waits_sum", ()): 0,
    }


def test_every_outcome_is_listed() -> None:
    words = {word_of(each.__new__(each)) for each in get_args(Outcome)}

    assert words == set(measures.OUTCOMES[What.SUBMIT])
    assert {*Delivered, "put_off"} == set(measures.OUTCOMES[What.DELIVER])


def test_an_account_and_an_unknown_provider_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = Numbers(measures.FAMILIES)
    monkeypatch.setattr(measures, "numbers", numbers)
    measures.note_work(What.POLL, "running", account="runway:team-secret", began=0)
    measures.note_work(What.POLL, "running", account="of-tomorrow", began=0)

    found = samples(numbers)

    assert found["longtake_work_total", ("running", "runway", "poll")] == 1
    assert found["longtake_work_total", ("running", "other", "poll")] == 1
    assert "secret" not in str(found)


def test_moves_are_counted_and_ends_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = Numbers(measures.FAMILIES)
    monkeypatch.setattr(measures, "numbers", numbers)
    move = Move(job="j", tenant="t", model="m", state="processing", age=1.0)
    end = Move(job="j", tenant="t", model="m", state="complete", age=40.0)
    measures.note_moves([move, end])

    found = samples(numbers)

    assert found["longtake_job_moves_total", ("processing",)] == 1
    assert found["longtake_job_duration_seconds_sum", ("complete",)] == 40
    assert ("longtake_job_duration_seconds_sum", ("processing",)) not in found
