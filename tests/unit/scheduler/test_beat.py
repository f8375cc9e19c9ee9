"""The beat's schedule names tasks that there are, and nothing in it hangs on two clocks."""

import re
from pathlib import Path

import pytest

from models.verbs import What
from providers.registry import PROVIDERS
from scheduler.beat import SCHEDULE
from tasks.queue import PUMPS
from tasks.queues import Queue
from tasks.routing import queue_of

#: Read, not imported: to ask the app would give this process a broker.
TASKS = re.findall(
    r'@app\.task\(\s*name="([^"]+)"',
    (Path(__file__).parents[3] / "tasks" / "video.py").read_text(),
)


@pytest.mark.parametrize("entry", SCHEDULE)
def test_every_entry_names_a_task_and_never_expires(entry: str) -> None:
    task = SCHEDULE[entry]
    assert task["task"] in TASKS
    assert task["schedule"] > 0
    assert "expires" not in task.get("options", {})


def test_the_tick_comes_every_second() -> None:
    assert SCHEDULE["tick"]["schedule"] == 1.0


def test_every_kind_of_due_rows_has_a_known_queue() -> None:
    assert set(PUMPS) == set(What)
    assert {queue for _, queue in PUMPS.values()} <= set(Queue)


@pytest.mark.parametrize("name", PROVIDERS)
def test_posts_of_minutes_and_of_moments_have_queues_of_their_own(name: str) -> None:
    is_long = PROVIDERS[name].capabilities.synchronous
    for account in (name, f"{name}:team"):
        assert queue_of(What.SUBMIT, account) is (Queue.SUBMIT_LONG if is_long else Queue.SUBMIT)
    assert queue_of(What.STORE, name) is Queue.STORE
    assert queue_of(What.DELIVER, None) is Queue.DELIVER
