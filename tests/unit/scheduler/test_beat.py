"""The beat's schedule names tasks that there are, and none of its ticks piles up."""

import re
from pathlib import Path

import pytest

from models.state import What
from scheduler.beat import SCHEDULE
from tasks.queue import PUMPS, Queue

#: Read, not imported: to ask the app would give this process a broker.
TASKS = re.findall(
    r'@app\.task\(name="([^"]+)"',
    (Path(__file__).parents[3] / "tasks" / "video.py").read_text(),
)


@pytest.mark.parametrize("entry", SCHEDULE)
def test_every_entry_names_a_task_and_expires(entry: str) -> None:
    task = SCHEDULE[entry]
    assert task["task"] in TASKS
    assert task["schedule"] > 0
    assert task["options"]["expires"] > 0


def test_the_tick_comes_every_second() -> None:
    assert SCHEDULE["tick"]["schedule"] == 1.0


def test_every_kind_of_due_rows_has_a_task_on_a_known_queue() -> None:
    assert set(PUMPS) == set(What)
    for name, queue in PUMPS.values():
        assert name in TASKS
        assert queue in set(Queue)
