"""The app of processes that speak with the broker alone: beat, Flower and health checks.

They send and watch tasks by name, so they load neither the tasks nor the engine.
"""

import worker.log_setup  # noqa: F401 - connects the handler
from tasks.queue import app

__all__ = ["app"]
