"""What a worker says of itself when the workers are called: `tasks.workers` asks."""

import platform
from typing import Any, Final

import celery
from celery.worker.control import inspect_command

from models.revision import newest
from tasks.workers import ABOUT

#: Read once: the code of a process does not change.
_SCHEMA: Final = newest()


@inspect_command(name=ABOUT)
def about(state: Any, **_: Any) -> dict[str, Any]:
    """The process's version, queues and work; nothing of messages. Any number of times."""
    consumer = state.consumer
    stats = consumer.controller.stats()
    queues = consumer.task_consumer.queues if consumer.task_consumer else []
    return {
        "pid": stats["pid"],
        "uptime": stats["uptime"],
        "slots": getattr(consumer.pool, "limit", None),
        "begun": sum(stats["total"].values()),
        "queues": sorted(queue.name for queue in queues),
        "schema": _SCHEMA,
        "celery": celery.__version__,
        "python": platform.python_version(),
    }
