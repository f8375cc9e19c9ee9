"""The app that `celery -A worker` loads, with its tasks, schedule and signals."""

import tasks.video  # noqa: F401 - registers the tasks
import worker.log_setup
import worker.signals  # noqa: F401 - connects the handlers
from tasks.queue import app

__all__ = ["app"]
