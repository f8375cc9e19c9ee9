"""When a process looks at an operation next: queues, floors, what is asked for, what is learned."""

from itertools import pairwise

import pytest

from scheduler.hazard import Usual
from scheduler.looks import Learned, Looks
from scheduler.queues import Queue

ROUTE = "kling/kling-3.0/5s"


def looks(**changes: object) -> Looks:
    return Looks(usual={"kling/kling-3.0": Usual(40.0, 60.0, 90.0)}, **changes)  # type: ignore[arg-type]


def learned(p50: float = 60.0, route: str = ROUTE) -> Learned:
    return Learned(route=route, p10=p50 * 0.7, p50=p50, p90=p50 * 1.5, knots=None)


def wait(
    of: Looks,
    elapsed: float,
    *,
    queued: bool = False,
    running_for: float | None = None,
    floor: float = 2.0,
    asked: float = 0.0,
    now: float = 10_000.0,
    dice: float = 0.5,
) -> float:
    return of.wait(
        lane="kling",
        route=ROUTE,
        elapsed=elapsed,
        queued=queued,
        running_for=running_for,
        floor=floor,
        ceiling=30.0,
        asked=asked,
        now=now,
        dice=dice,
    )


def test_a_route_of_which_nothing_is_learned_is_looked_at_early_and_then_by_the_catalogue() -> None:
    known = looks()

    assert wait(known, 0.0) == 2.0
    assert wait(known, 20.0) > 5.0
    assert wait(known, 60.0) < 5.0


def test_a_learned_route_is_first_looked_at_when_an_end_is_likely() -> None:
    known = looks()
    known.learn(learned(600.0))

    assert wait(known, 0.0) > 200.0
    assert wait(known, 0.0, dice=0.0) < wait(known, 0.0, dice=1.0)

    # What is learned anew counts at once
    known.learn(learned(60.0))
    assert 20.0 < wait(known, 0.0) < 60.0


@pytest.mark.parametrize("dice", [0.0, 0.5, 1.0])
def test_floor_and_what_is_asked_for_are_the_least(dice: float) -> None:
    known = looks()
    for elapsed in (0.0, 30.0, 60.0, 500.0):
        assert wait(known, elapsed, floor=10.0, dice=dice) >= 10.0
        assert wait(known, elapsed, asked=77.0, dice=dice) >= 77.0


def test_fewer_looks_are_made_for_a_longer_delay() -> None:
    near, far = looks(delay=1.5), looks(delay=8.0)
    for each in (near, far):
        each.learn(learned())

    assert wait(near, 60.0) < wait(far, 60.0)


def test_the_clock_starts_when_an_operation_leaves_its_vendors_queue() -> None:
    known = looks()
    known.learn(learned())

    assert wait(known, 1000.0, running_for=0.0) == pytest.approx(wait(known, 0.0))
    assert wait(known, 1000.0, running_for=60.0) == pytest.approx(wait(known, 60.0))


def test_a_queued_operation_is_looked_at_less_often_the_longer_it_waits() -> None:
    known = looks()
    known.learn(learned())

    waits = [wait(known, elapsed, queued=True) for elapsed in (4.0, 20.0, 60.0, 3000.0)]

    assert waits == sorted(waits)
    assert waits[-1] == 30.0


def test_a_queue_that_moves_says_when_an_operation_will_start() -> None:
    known, now = looks(), 10_000.0
    known.learn(learned())
    # Given 1,000 operations, of which one a second was accepted and one in ten seconds starts
    for number in range(20):
        at = now + 10 * number
        wait(known, at - (now + number), now=at)
    at = now + 200
    # Then the one that was accepted 100 later is left alone for half of the time until its turn
    ahead = wait(known, elapsed=at - (now + 119), queued=True, now=at)
    assert ahead == pytest.approx(min(500, (at - (now + 119)) / 2), rel=0.1)
    # And the next in the queue is looked at soon, but no sooner than its start needs to be known
    assert 5.0 < wait(known, elapsed=at - (now + 19.2), queued=True, now=at) < 15.0


def test_nothing_is_predicted_of_a_queue_that_has_another_order() -> None:
    queue = Queue()
    for number in range(10):
        queue.started(accepted=1000.0 - number, now=2000.0 + number)

    assert queue.left(accepted=990.5, now=2010.0) is None
    assert queue.left(accepted=1001.0, now=2010.0) is None

    # And of an operation that was overtaken, nothing either
    for accepted in (1020.0, 1003.0, 1040.0, 1004.0, 1060.0, 1005.0):
        queue.started(accepted=accepted, now=2020.0 + accepted - 1000)
    assert queue.left(accepted=1050.0, now=2090.0) is None
    assert queue.left(accepted=1070.0, now=2090.0) is not None


def test_a_queue_that_stands_still_is_predicted_to_take_longer_and_longer() -> None:
    queue = Queue()
    for number in range(10):
        queue.started(accepted=1000.0 + number, now=2000.0 + 6 * number)

    soon, late = (queue.left(accepted=1020.0, now=at) for at in (2060.0, 2600.0))
    assert soon is not None
    assert late is not None
    assert soon < late


def queued_jobs(known: Looks, *, jobs: int, slots: int, run: float) -> tuple[float, float]:
    """Mean looks and delay of jobs that a vendor with so many slots takes one after another."""
    starts = [run * (number // slots) for number in range(jobs)]
    due: list[tuple[float, int, float | None, float | None]] = [
        (wait(known, 0.0, now=0.0), number, None, None) for number in range(jobs)
    ]
    looked, delays = 0, 0.0
    while due:
        due.sort(reverse=True)
        now, number, seen, running = due.pop()
        looked += 1
        accepted = number / jobs
        if now >= starts[number] + run:
            wait(known, now - accepted, now=now)
            delays += now - starts[number] - run
            continue
        queued = now < starts[number]
        if not queued and running is None:
            running = accepted if seen is None else (seen + now) / 2
        pause = wait(
            known,
            now - accepted,
            queued=queued,
            running_for=None if running is None else now - running,
            now=now,
            dice=(number * 0.618) % 1,
        )
        due.append((now + pause, number, now, running))
    return looked / jobs, delays / jobs


def test_a_long_queue_takes_few_looks() -> None:
    known = looks()
    known.learn(learned(40.0))

    polls, delay = queued_jobs(known, jobs=400, slots=4, run=40.0)

    # 50 waits of 40 s on the mean: by the rule for running ones it would be a look each 30 s.
    assert polls < 30
    assert delay < 10.0


def test_where_callbacks_tell_of_ends_looks_are_fewer_but_go_on() -> None:
    known = looks()
    known.learn(learned())

    def called(elapsed: float) -> float:
        return known.wait(
            lane="kling",
            route=ROUTE,
            elapsed=elapsed,
            called=True,
            floor=1.0,
            ceiling=30.0,
            now=10_000.0,
            dice=0.5,
        )

    before = called(60.0)
    for _ in range(100):
        known.ended("kling", told=True)
    after = called(60.0)

    assert 2 * before < after <= 30.0
    # An operation whose provider has no address, or another account's, is looked at as before
    assert wait(known, 60.0, floor=1.0) == pytest.approx(before)
    # And when callbacks stop to come, looks are as many again
    for _ in range(100):
        known.ended("kling", told=False)
    assert called(60.0) == pytest.approx(before)


def test_a_few_callbacks_change_nothing() -> None:
    known = looks()
    known.learn(learned())
    for number in range(100):
        known.ended("kling", told=number % 3 == 0)

    assert known._told["kling"] < 0.5  # noqa: SLF001 - nothing else tells
    assert wait(known, 60.0) > 0


def test_an_unlearned_route_is_looked_at_early_whatever_the_catalogue_says() -> None:
    known, now, times = Looks(usual={"kling/kling-3.0": Usual(400.0, 600.0, 900.0)}), 0.0, []
    while now < 100.0:
        now += wait(known, now, floor=1.0)
        times.append(now)

    # An operation that ends at any moment is seen after twice its time at the latest
    assert times[0] == pytest.approx(1.0)
    assert all(later <= 2.01 * one for one, later in pairwise(times))


@pytest.mark.parametrize("elapsed", [0.0, 7.3, 55.0, 58.8, 300.0])
@pytest.mark.parametrize("asked", [0.0, 11.0])
def test_operations_that_one_request_tells_of_are_looked_at_together(
    elapsed: float, asked: float
) -> None:
    known, wall = looks(), 1_800_000_000.7
    known.learn(learned())

    alone = wait(known, elapsed, asked=asked)
    together = known.wait(
        lane="kling",
        route=ROUTE,
        elapsed=elapsed,
        floor=2.0,
        ceiling=30.0,
        asked=asked,
        stride=2.0,
        wall=wall,
        now=10_000.0,
        dice=0.5,
    )

    assert (wall + together) % 2.0 == pytest.approx(0.0, abs=1e-6) or (
        wall + together
    ) % 2.0 == pytest.approx(2.0, abs=1e-6)
    assert together >= max(asked, 1.5)
    assert abs(together - alone) <= 2.0


def test_what_a_process_keeps_is_bounded() -> None:
    known = looks()
    for number in range(2500):
        known.learn(learned(route=f"kling/model-{number}/5s"))
        known.wait(
            lane=f"kling:{number}",
            route=f"kling/model-{number}/5s",
            elapsed=5.0,
            floor=2.0,
            ceiling=30.0,
            now=1.0,
            dice=0.0,
        ) if number % 50 == 0 else None

    assert len(known._known) <= 2000  # noqa: SLF001 - nothing else tells
    assert len(known._queues) <= 2000  # noqa: SLF001
