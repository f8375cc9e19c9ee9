"""Jobs as tasks of Celery's events, which Flower lists: one task a job, named by the job's id.

Events follow the commits that they tell of, from a thread of their own over a bounded queue: what
does not fit, or what the broker does not take, is dropped and counted. Nothing waits for them, and
nothing reads them but Flower.
"""

import os
import queue
import threading
import time
from collections.abc import Sequence
from socket import gethostname
from typing import Any, Final

import structlog

from models import moves
from models.moves import Move
from models.state import JobState
from settings import current
from tasks.hints import Hinter
from tasks.measures import EVENTS_DROPPED, numbers
from tasks.queue import app

log = structlog.get_logger()

#: The task that a job is shown as; no worker has one of this name.
TASK: Final = "video.generation"
#: Whose moves are no worker's: Flower lists no worker of this name.
API: Final = "api"
#: Events that wait for the broker, and those of one message, at most.
_MOST_WAITING, _TOGETHER = 2000, 200
#: Seconds for which events gather before they are sent, and between two tries to reach a broker.
_GATHERED, _PAUSE = 0.1, 2.0
#: The event that tells of a move; `storing` is between two of Celery's own states.
_EVENTS: Final = {
    JobState.PENDING: "task-sent",
    JobState.SUBMITTING: "task-received",
    JobState.PROCESSING: "task-started",
    JobState.COMPLETE: "task-succeeded",
    JobState.FAILED: "task-failed",
    JobState.CANCELLED: "task-revoked",
}
#: What Celery's events of a kind have besides; why a job failed is for its owner.
_MORE: Final[dict[str, dict[str, Any]]] = {
    "task-sent": {"queue": "submit"},
    "task-succeeded": {"result": ""},
    "task-failed": {"exception": "", "traceback": ""},
    "task-revoked": {"terminated": False, "signum": None, "expired": False},
}


def event_of(move: Move, *, now: float) -> dict[str, Any] | None:
    """The event of a move, without a word of its request; None for a move that has none."""
    kind = _EVENTS.get(JobState(move.state))
    if kind is None:
        return None
    event: dict[str, Any] = {
        "type": kind,
        "uuid": move.job,
        "root_id": move.job,
        "name": TASK,
        "args": "()",
        "kwargs": repr({"model": move.model, "tenant": move.tenant}),
        "retries": 0,
        "timestamp": now,
        **_MORE.get(kind, {}),
    }
    if kind in {"task-succeeded", "task-failed"}:
        event["runtime"] = move.age
    return event


class Teller:
    """Sends the events of this process; a forked child has a thread and a queue of its own."""

    def __init__(self, hostname: str) -> None:
        """`hostname` is whose work they are, as in `main@host`."""
        self._hostname = hostname
        self._pid = 0
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def tell(self, made: Sequence[Move]) -> None:
        """Queue the events of moves; never blocks."""
        if self._pid != os.getpid():
            self._begin()
        for move in made:
            event = event_of(move, now=time.time())
            if event is None:
                continue
            try:
                self._waiting.put_nowait(event)
            except queue.Full:
                numbers.add(EVENTS_DROPPED.name)

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        if self._pid == os.getpid():
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return  # a daemon thread: it ends with the process
            self._thread.join(timeout=_PAUSE)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._waiting = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="longtake-job-events", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            time.sleep(_GATHERED)
            if not self._send([event, *self._others()]):
                time.sleep(_PAUSE)

    def _others(self) -> list[dict[str, Any]]:
        """What else waits, without the end, which stays for the next look."""
        found: list[dict[str, Any]] = []
        while len(found) < _TOGETHER - 1 and not self._waiting.empty():
            event = self._waiting.get_nowait()
            if event is None:
                self._waiting.put(None)
                break
            found.append(event)
        return found

    def _send(self, events: Sequence[dict[str, Any]]) -> bool:
        """Send events as one message, as a worker sends its own; whether the broker took it."""
        try:
            with app.pool.acquire(block=True, timeout=_PAUSE) as connection:
                dispatcher = app.events.Dispatcher(
                    connection,
                    hostname=self._hostname,
                    buffer_while_offline=False,
                    buffer_group=frozenset({"task"}),
                    buffer_limit=_TOGETHER + 1,
                )
                for event in events:
                    dispatcher.send(event["type"], **_without_type(event))
                dispatcher.flush()
                dispatcher.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, work goes on without events
            numbers.add(EVENTS_DROPPED.name, by=len(events))
            log.warning("job_events.not_sent", events=len(events), error=type(error).__name__)
            return False
        return True


def _without_type(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "type"}


_teller: Teller | None = None


def begin(hostname: str) -> None:
    """Tell of all moves of jobs in this process, and in those that it forks."""
    global _teller  # noqa: PLW0603 - one for the process
    if _teller is None:
        _teller = Teller(hostname)
        moves.listen(_teller.tell)


def end() -> None:
    """Tell of none any more."""
    global _teller  # noqa: PLW0603 - as above
    if _teller is not None:
        moves.forget(_teller.tell)
        _teller.close()
        _teller = None


class TellingHinter(Hinter):
    """Sends an API process's hints, and tells of its jobs' moves."""

    def __init__(self) -> None:
        super().__init__()
        if current().flower_jobs:
            begin(f"{API}@{gethostname()}")

    def close(self) -> None:
        super().close()
        end()
