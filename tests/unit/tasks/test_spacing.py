"""Of a pile of periodic messages one is done, and the next one a while later."""

import threading

import pytest

from tasks.spacing import Spacing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("tasks.spacing.time.monotonic", lambda: now[0])
    return now


def is_ours(spacing: Spacing) -> bool:
    with spacing.turn() as ours:
        return ours


def test_one_of_a_pile_is_done_and_the_next_one_after_a_while(clock: list[float]) -> None:
    spacing = Spacing(0.5)

    assert [is_ours(spacing) for _ in range(3600)].count(True) == 1
    clock[0] += 0.5
    assert [is_ours(spacing) for _ in range(3600)].count(True) == 1


def test_while_one_runs_no_other_does_however_long_it_takes(clock: list[float]) -> None:
    spacing, seen = Spacing(0.5), list[bool]()
    with spacing.turn() as first:
        clock[0] += 60
        other = threading.Thread(target=lambda: seen.append(is_ours(spacing)))
        other.start()
        other.join(10)

    assert first
    assert seen == [False]
    assert is_ours(spacing)


def test_one_that_fails_keeps_nobody_out(clock: list[float]) -> None:
    spacing = Spacing(0.5)
    with pytest.raises(ZeroDivisionError), spacing.turn():
        _ = 1 / 0
    clock[0] += 1

    assert is_ours(spacing)
