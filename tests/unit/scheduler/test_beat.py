"""The beat's schedule names tasks that there are, and none of its ticks piles up."""

import pytest

import tasks.video  # noqa: F401 - registers the tasks
from models.state import What
from scheduler.beat import SCHEDULE
from tasks.queue import PUMPS, Queue, app


@pytest.mark.parametrize("entry", SCHEDULE)
def test_every_entry_names_a_task_and_expires(entry: str) -> None:
    task = SCHEDULE[entry]
    assert task["task"] in app.tasks
    assert task["schedule"] > 0
    assert 0 < task["options"]["expires"]


def test_the_tick_comes_every_second() -> None:
    assert SCHEDULE["tick"]["schedule"] == 1.0


def test_every_kind_of_due_rows_has_a_task_on_a_known_queue() -> None:
    assert set(PUMPS) == set(What)
    for name, queue in PUMPS.values():
        assert name in app.tasks
        assert queue in set(Queue)
