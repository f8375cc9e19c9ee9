"""The app that `celery -A worker` loads, with its tasks, schedule and signals."""

import sys

import tasks.video  # noqa: F401 - registers the tasks
import worker.about
import worker.log_setup
import worker.numbers
import worker.signals
from tasks.queue import app

if "flower.command" in sys.modules:  # which the `celery` command has imported
    import worker.flower  # noqa: F401 - guards it

__all__ = ["app"]
