"""Hints: messages that make work start sooner. Nothing is lost with one: the tick sends more."""

import math
import queue
import threading
from functools import cache

import redis
import structlog
from kombu.exceptions import OperationalError

from models.state import What
from settings import current
from tasks.queue import BROKER_TIMEOUT, PUMPS, app, queue_of

log = structlog.get_logger()

#: A hint older than this is superseded by a later one, in seconds.
STALE = 60
#: Hints that wait for the publishing thread; more are dropped, since the tick finds their work.
_MOST_WAITING = 1000


def send(what: What, lane: str | None) -> bool:
    """Send a hint unless one is on its way; whether it went out. A broker's error is no error."""
    name, _ = PUMPS[what]
    try:
        if not _first(what, lane):
            return False
        app.send_task(
            name, kwargs={"lane": lane}, queue=queue_of(what, lane), expires=STALE, retry=False
        )
    except (OperationalError, redis.RedisError, OSError) as error:
        log.warning("hint.not_sent", what=what, lane=lane, error=type(error).__name__)
        return False
    return True


def arrived(what: What, lane: str | None) -> None:
    """A pump starts: the next hint for its lane may be sent."""
    valkey = _valkey()
    if valkey is not None:
        try:
            valkey.delete(_key(what, lane))
        except redis.RedisError as error:
            log.warning("hint.key_not_deleted", what=what, lane=lane, error=type(error).__name__)


def _first(what: What, lane: str | None) -> bool:
    """Whether none is on its way; one that was lost with its worker costs a lease, not more."""
    valkey = _valkey()
    hold = math.ceil(current().lease_seconds)
    return valkey is None or bool(valkey.set(_key(what, lane), 1, nx=True, ex=hold))


def _key(what: What, lane: str | None) -> str:
    return f"longtake:hint:{what}:{lane or '*'}"


@cache
def _valkey() -> redis.Redis | None:
    url = current().limits_url
    if url is None:
        return None
    if url.startswith("redis+socket://"):
        url = url.replace("redis+socket://", "unix://", 1)
    return redis.Redis.from_url(
        url, socket_timeout=BROKER_TIMEOUT, socket_connect_timeout=BROKER_TIMEOUT
    )


class Hinter:
    """Sends hints from a thread of its own, so that no caller ever waits for the broker."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[What, str | None] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="longtake-hints", daemon=True)
        self._thread.start()

    def nudge(self, what: What, lane: str | None) -> None:
        """Say that there is work; returns at once, whatever the broker does."""
        try:
            self._waiting.put_nowait((what, lane))
        except queue.Full:
            log.warning("hint.dropped", what=what, lane=lane)

    def close(self) -> None:
        try:
            self._waiting.put(None, timeout=1)
        except queue.Full:
            log.warning("hint.publisher_left_behind")  # a daemon: it ends with the process
            return
        self._thread.join(timeout=2 * BROKER_TIMEOUT)

    def _run(self) -> None:
        while (hint := self._waiting.get()) is not None:
            send(*hint)
