"""Clearance: given for one database only; what was sent is remembered until a mark covers it."""

from datetime import UTC, datetime

import pytest

from tasks.restore.clearance import Clearance

STARTED = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def clearance() -> Clearance:
    given = Clearance()
    given.give(table=7, started=STARTED, generation=5)
    return given


@pytest.mark.parametrize(
    ("table", "started", "generation", "holds"),
    [
        (7, STARTED, 5, True),
        (7, STARTED, 6, True),
        (7, STARTED, 4, False),
        (8, STARTED, 5, False),
        (7, datetime(2026, 11, 22, tzinfo=UTC), 5, False),
    ],
    ids=["same", "later", "set back", "tables made anew", "another server"],
)
def test_it_holds_for_the_database_that_was_compared(
    clearance: Clearance, table: int, started: datetime, generation: int, *, holds: bool
) -> None:
    assert clearance.holds_for(table=table, started=started, generation=generation) is holds


def test_a_generation_that_was_seen_is_not_gone_behind(clearance: Clearance) -> None:
    assert clearance.holds_for(table=7, started=STARTED, generation=9)
    assert not clearance.holds_for(table=7, started=STARTED, generation=8)


def test_without_a_comparison_there_is_none() -> None:
    assert not Clearance().is_given()
    assert not Clearance().holds_for(table=7, started=STARTED, generation=5)


def test_a_later_generations_mark_covers_what_was_sent_before_it_began(
    clearance: Clearance,
) -> None:
    clearance.note_sent("a")
    before = dict(clearance.sent)
    clearance.note_sent("b")  # while the generation is being read

    clearance.cover(before, generation=5)
    clearance.forget(stored=5)
    assert set(clearance.sent) == {"a", "b"}

    clearance.forget(stored=6)
    assert set(clearance.sent) == {"b"}


def test_what_reached_nobody_is_not_remembered(clearance: Clearance) -> None:
    clearance.note_sent("a")
    clearance.take_back("a")
    clearance.take_back("never sent")
    assert clearance.sent == {}
