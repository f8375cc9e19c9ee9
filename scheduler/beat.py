"""The beat schedule as data; tasks are named by strings, so that this module imports no Celery.

Several beats may run: each task is idempotent. No message expires, because a worker would compare
the beat's clock with its own, and discard every message of a beat that is a few seconds slow. Tasks
skip the backlog that builds up while no worker runs (`tasks.spacing`).
"""

from typing import Any

SCHEDULE: dict[str, dict[str, Any]] = {
    # Sends one hint for each kind and lane with due rows.
    "tick": {
        "task": "video.tick",
        "schedule": 1.0,
        "kwargs": {"within": 20.0},
    },
    # Includes polls that have been due for longer, which only an outage leaves behind.
    "tick-all": {"task": "video.tick", "schedule": 5.0},
    # Deletes rows and videos past their retention, in small batches.
    "prune": {"task": "video.prune", "schedule": 600.0},
    # Warns of old snapshots, which keep PostgreSQL from removing dead rows.
    "look-around": {"task": "video.look_around", "schedule": 60.0},
    # Writes the high-water mark to storage, which shows whether the database was restored.
    "mark": {"task": "video.mark", "schedule": 5.0},
    # Updates the learned durations.
    "learn": {"task": "video.learn", "schedule": 30.0},
}
