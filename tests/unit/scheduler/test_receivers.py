"""The breaker of a receiver as a rule: when it opens, for how long, and what closes it."""

from scheduler.receivers import FIRST_OPEN, LONGEST_OPEN, OPENS_AFTER, Heard, Known

FAILED = Heard(failures=1, has_answered=False, is_prompt=False)
PROBE_FAILED = Heard(failures=1, has_answered=False, is_prompt=False, was_probe=True)
ANSWERED = Heard(failures=0, has_answered=True, is_prompt=True)


def test_it_opens_after_failures_in_a_row_only() -> None:
    known = Known()
    for _ in range(OPENS_AFTER - 1):
        known = known.after(FAILED)
    assert known.wait is None
    assert known.after(ANSWERED).after(FAILED) == Known(failures=1, is_prompt=True)

    opened = known.after(FAILED)

    assert (opened.wait, opened.trips) == (FIRST_OPEN, 1)


def test_each_failed_probe_opens_it_for_longer_up_to_a_limit() -> None:
    known, waits = Known(failures=OPENS_AFTER, trips=1, wait=0.0), list[float | None]()
    for _ in range(40):
        known = known.after(PROBE_FAILED)
        waits.append(known.wait)

    assert waits[:3] == [2 * FIRST_OPEN, 4 * FIRST_OPEN, 8 * FIRST_OPEN]
    assert waits[-1] == LONGEST_OPEN


def test_tries_from_before_it_opened_say_nothing_new() -> None:
    opened = Known(failures=OPENS_AFTER, trips=1, wait=7.0)

    later = opened.after(FAILED)

    assert (later.trips, later.wait) == (1, 7.0)


def test_one_answer_among_failures_closes_it() -> None:
    opened = Known(failures=9, trips=3, wait=7.0)

    assert opened.after(FAILED + ANSWERED) == Known(is_prompt=True)
    assert opened.after(ANSWERED + FAILED) == Known(is_prompt=True)
