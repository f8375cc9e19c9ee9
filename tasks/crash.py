"""Crash points: places where a fault test kills the worker, between two steps of a verb.

Without LONGTAKE_CRASH_AT a point is a comparison with None. The names say what was last done.
"""

import os
import signal

from models.verbs import DECLARED
from settings import current

#: Those of messages on their way in; `test_kill_intake.py` runs them.
OF_INTAKE = ("batch.inserted", "enqueue.committed")
#: Those of verbs, in order of a job's life; the crash matrix runs them all.
POINTS = tuple(point for declared in DECLARED for point in declared.points)


def crash_point(name: str) -> None:
    """Kill this process if this is the point that a fault test chose."""
    if current().crash_at == name:
        os.kill(os.getpid(), signal.SIGKILL)
