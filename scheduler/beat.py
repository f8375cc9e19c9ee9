"""The beat schedule, as data: tasks are named by strings, so nothing here imports Celery.

Any number of beats may run: each entry is harmless when it is sent twice.
"""

from typing import Any

#: A tick that waited this long in a queue is superseded by a later one, in seconds.
_STALE = 5

SCHEDULE: dict[str, dict[str, Any]] = {
    # Finds what is due and sends one hint for each kind and lane.
    "tick": {
        "task": "video.tick",
        "schedule": 1.0,
        "kwargs": {"within": 20.0},
        "options": {"expires": _STALE},
    },
    # The same with polls that have been due for longer, which only an outage leaves behind.
    "tick-all": {"task": "video.tick", "schedule": 5.0, "options": {"expires": _STALE}},
    # Deletes what is older than it is to be kept, a small batch at a time.
    "prune": {"task": "video.prune", "schedule": 600.0, "options": {"expires": 300}},
    # Warns of transactions that keep what is dead from being removed.
    "look-around": {"task": "video.look_around", "schedule": 60.0, "options": {"expires": 30}},
    # Learns how long operations take.
    "learn": {"task": "video.learn", "schedule": 30.0, "options": {"expires": 30}},
}
