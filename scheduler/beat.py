"""The beat schedule, as data: tasks are named by strings, so nothing here imports Celery.

Any number of beats may run: each entry is harmless when it is sent twice. None expires: that would
be judged by a worker's clock against the beat's, and a beat a few seconds behind would get nothing
done. What piles up while no worker runs is skipped by the tasks themselves (`tasks.spacing`).
"""

from typing import Any

SCHEDULE: dict[str, dict[str, Any]] = {
    # Finds what is due and sends one hint for each kind and lane.
    "tick": {
        "task": "video.tick",
        "schedule": 1.0,
        "kwargs": {"within": 20.0},
    },
    # The same with polls that have been due for longer, which only an outage leaves behind.
    "tick-all": {"task": "video.tick", "schedule": 5.0},
    # Deletes what is older than it is to be kept, a small batch at a time.
    "prune": {"task": "video.prune", "schedule": 600.0},
    # Warns of transactions that keep what is dead from being removed.
    "look-around": {"task": "video.look_around", "schedule": 60.0},
    # Keeps the mark outside of PostgreSQL that tells whether the database was restored.
    "mark": {"task": "video.mark", "schedule": 5.0},
    # Learns how long operations take.
    "learn": {"task": "video.learn", "schedule": 30.0},
}
