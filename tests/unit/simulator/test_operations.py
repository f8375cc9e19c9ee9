import itertools
import math
from typing import Protocol

import pytest

from simulator.operations import Operation, Operations, Order, Phase, Script, UnknownScript
from simulator.video import Clip


class Clock(Protocol):
    def __call__(self) -> float: ...
    def advance(self, seconds: float) -> None: ...


SECOND = Clip(320, 180, 1)
LONGEST = 20.0 + 60.0


@pytest.fixture
def operations(clock: Clock) -> Operations:
    return Operations(clock=clock, speed=1.0, seed=0)


def order(prompt: str, *, seed: int | None = None, limit: int | None = None) -> Order:
    serial = next(_serial)
    return Order(
        provider="vendor",
        operation_id=f"op-{serial}",
        model="m",
        prompt=prompt,
        clip=SECOND,
        seed=seed,
        lane="m",
        limit=limit,
    )


_serial = itertools.count()


def phases(operation: Operation) -> list[Phase]:
    """The distinct phases of the operation's life, asked at every half second."""
    moments = (1_000.0 + half / 2 for half in range(2_000))
    return [phase for phase, _ in itertools.groupby(operation.phase(now) for now in moments)]


def test_an_operation_is_queued_then_runs_then_succeeds(operations: Operations) -> None:
    assert phases(operations.accept(order("a cat"))) == [
        Phase.QUEUED,
        Phase.RUNNING,
        Phase.SUCCEEDED,
    ]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[sim:fail] a cat", [Phase.QUEUED, Phase.RUNNING, Phase.FAILED]),
        ("[sim:moderate] a cat", [Phase.QUEUED, Phase.RUNNING, Phase.FAILED]),
        ("[sim:slow] a cat", [Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED]),
        ("[sim:never] a cat", [Phase.QUEUED, Phase.RUNNING]),
        (
            "[sim:unknown-status] a cat",
            [Phase.QUEUED, Phase.UNDOCUMENTED, Phase.RUNNING, Phase.SUCCEEDED],
        ),
        ("[sim:slow][sim:fail] a cat", [Phase.QUEUED, Phase.RUNNING, Phase.FAILED]),
        ("a cat that says [sim:fail]", [Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED]),
    ],
)
def test_a_prompt_that_begins_with_a_script_follows_it(
    operations: Operations, prompt: str, expected: list[Phase]
) -> None:
    assert phases(operations.accept(order(prompt))) == expected


@pytest.mark.parametrize("script", ["", "[sim:fail]", "[sim:never]", "[sim:unknown-status]"])
def test_every_change_is_foreseen_to_the_moment(operations: Operations, script: str) -> None:
    operation = operations.accept(order(f"{script} a cat"))

    now, seen = 1_000.0, [operation.phase(1_000.0)]
    while (change := operation.next_change(now)) < math.inf:
        assert operation.phase(math.nextafter(change, now)) is seen[-1]
        seen.append(operation.phase(change))
        now = change

    assert seen == phases(operation)


def test_nobody_can_tell_when_a_held_operation_changes(operations: Operations) -> None:
    _, held = operations.accept(order("a", limit=1)), operations.accept(order("b", limit=1))

    assert held.next_change(1_234.5) == 1_234.5


def test_a_script_nobody_knows_is_an_error_and_starts_nothing(operations: Operations) -> None:
    with pytest.raises(UnknownScript, match=r"\[sim:explode\] is not one of fail, moderate"):
        operations.accept(order("[sim:explode] a cat"))

    assert list(operations) == []


def test_a_slow_operation_takes_ten_times_as_long(operations: Operations) -> None:
    slow = operations.accept(order("[sim:slow] a cat"))

    assert 10 * (4 + 20) <= slow.finishes_at - 1_000.0 <= 10 * LONGEST
    assert slow.scripts == {Script.SLOW}


def test_the_same_prompt_and_seed_take_the_same_time_and_others_do_not(
    operations: Operations,
) -> None:
    first, again = operations.accept(order("a", seed=1)), operations.accept(order("a", seed=1))
    others = [operations.accept(order("a", seed=2)), operations.accept(order("b", seed=1))]

    assert first.pace == again.pace
    assert first.fingerprint == again.fingerprint
    assert first.pace not in [other.pace for other in others]


def test_at_the_default_speed_operations_finish_in_one_to_four_seconds() -> None:
    operations = Operations(clock=lambda: 0.0, speed=20.0, seed=0)

    ends = [operations.accept(order(f"prompt {n}")).finishes_at for n in range(500)]

    assert 1.0 < min(ends) < 2.0
    assert 3.0 < max(ends) <= 4.0


def test_progress_grows_from_zero_to_one(operations: Operations) -> None:
    operation = operations.accept(order("a cat"))

    seen = [operation.progress(1_000.0 + second) for second in range(100)]

    assert seen[0] == 0.0
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


def test_an_operation_beyond_the_limit_is_admitted_when_the_first_one_ends(
    operations: Operations, clock: Clock
) -> None:
    # Given two places, and three operations
    first, second, third = (operations.accept(order(p, limit=2)) for p in ("a", "b", "c"))
    assert third.phase(operations.now()) is Phase.HELD
    ends = min(first.finishes_at, second.finishes_at)

    # When nobody asks until long afterwards
    clock.advance(10 * LONGEST)
    found = operations.find("vendor", third.id)

    # Then it was admitted at the moment when the first place became free
    assert found is third
    assert third.admitted_at == ends
    assert third.phase(operations.now()) is Phase.SUCCEEDED


def test_cancelling_gives_the_place_to_the_next_at_once(operations: Operations) -> None:
    first, second = (operations.accept(order(p, limit=1)) for p in ("[sim:never]", "b"))
    assert second.finishes_at == math.inf

    operations.cancel(first)

    assert first.phase(operations.now()) is Phase.CANCELLED
    assert second.phase(operations.now()) is Phase.QUEUED


def test_cancelling_a_held_operation_frees_no_place(operations: Operations) -> None:
    first, second, third = (operations.accept(order(p, limit=1)) for p in ("[sim:never]", "b", "c"))

    operations.cancel(second)

    assert first.phase(operations.now()) is Phase.QUEUED
    assert second.phase(operations.now()) is Phase.CANCELLED
    assert third.phase(operations.now()) is Phase.HELD


def test_cancelling_a_finished_operation_changes_nothing(
    operations: Operations, clock: Clock
) -> None:
    operation = operations.accept(order("a cat"))
    clock.advance(LONGEST)

    operations.cancel(operation)

    assert operation.phase(operations.now()) is Phase.SUCCEEDED


def test_only_unfinished_operations_occupy_their_lane(operations: Operations, clock: Clock) -> None:
    operations.accept(order("a cat"))
    operations.accept(order("[sim:never]"))
    assert operations.occupied("vendor", "m") == 2

    clock.advance(LONGEST)

    assert operations.occupied("vendor", "m") == 1


def test_polls_are_counted_and_other_looks_are_not(operations: Operations) -> None:
    operation = operations.accept(order("a cat"))

    for _ in range(3):
        operations.poll("vendor", operation.id)
    operations.find("vendor", operation.id)

    assert operation.polls == 3
