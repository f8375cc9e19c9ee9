"""Crash points: places where a fault test has a worker die at once, between two steps of a verb.

Without LONGTAKE_CRASH_AT a point is a comparison with None. The names say what was last done.
"""

import os
import signal

from settings import current

#: Every point, in order of a job's life; the crash matrix runs them all.
POINTS = (
    "submit.claimed",
    "submit.sent_committed",
    "submit.posted",
    "submit.answer_committed",
    "poll.claimed",
    "poll.answered",
    "poll.written",
    "store.claimed",
    "store.downloaded",
    "store.put",
    "store.written",
    "deliver.claimed",
    "deliver.posted",
    "deliver.written",
    "cancel.claimed",
    "cancel.posted",
    "cancel.written",
    "look_up.claimed",
    "look_up.found",
    "look_up.written",
    "expire.claimed",
    "expire.written",
)


def crash_point(name: str) -> None:
    """Die here with SIGKILL if this is the point that a fault test chose."""
    if current().crash_at == name:
        os.kill(os.getpid(), signal.SIGKILL)
