"""What `celery -A worker` finds: the app with its tasks, its schedule and its signals."""

import tasks.video  # noqa: F401 - registers the tasks
import worker.signals  # noqa: F401 - connects the handlers
from tasks.queue import app

__all__ = ["app"]
