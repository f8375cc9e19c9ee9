"""Hints: messages that make work start sooner. Nothing is lost with one: the tick sends more."""

import math
import queue
import threading
import time
from functools import cache

import redis
import structlog
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.state import What
from settings import current
from tasks.queue import BROKER_TIMEOUT, PUMPS, app, queue_of

log = structlog.get_logger()

#: Seconds that one question about a hint key may take: it only saves a doubled hint.
KEY_TIMEOUT = 1.0
#: After a limits Valkey failed, hints go out for so many seconds without asking it.
KEY_PAUSE = 10.0
#: Hints that wait for the publishing thread; more are dropped, since the tick finds their work.
_MOST_WAITING = 1000

#: Until when the limits Valkey is not asked, by the monotonic clock; it failed just before.
_not_asked_until = 0.0


def send(what: What, lane: str | None) -> bool:
    """Send a hint unless one is on its way; whether it went out. A broker's error is no error.

    A hint never expires: doubled and late ones are harmless, and clocks of two hosts may differ.
    """
    name, _ = PUMPS[what]
    try:
        if not _first(what, lane):
            return False
    except (redis.RedisError, OSError) as error:
        log.warning("hint.not_sent", what=what, lane=lane, error=type(error).__name__)
        return False
    try:
        app.send_task(name, kwargs={"lane": lane}, queue=queue_of(what, lane), retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        log.warning("hint.not_sent", what=what, lane=lane, error=type(error).__name__)
        arrived(what, lane)  # none is on its way: the next one must not wait for the key's end
        return False
    return True


def arrived(what: What, lane: str | None) -> None:
    """A pump starts: the next hint for its lane may be sent."""
    valkey = _valkey()
    if valkey is not None:
        try:
            valkey.delete(_key(what, lane))
        except (redis.RedisError, OSError) as error:
            _ask_later()
            log.warning("hint.key_not_deleted", what=what, lane=lane, error=type(error).__name__)


def _first(what: What, lane: str | None) -> bool:
    """Whether none is on its way; one that was lost with its worker costs a lease, not more.

    Raises:
        RedisError, OSError: the broker itself is the Valkey, and away.
    """
    valkey = _valkey()
    if valkey is None:
        return True
    hold = math.ceil(current().lease_seconds)
    try:
        return bool(valkey.set(_key(what, lane), 1, nx=True, ex=hold))
    except (redis.RedisError, OSError) as error:
        if current().valkey_url is None:
            raise
        # A Valkey of its own is away, not the broker: a doubled hint is better than none.
        _ask_later()
        log.warning("hint.keys_away", error=type(error).__name__, pause=KEY_PAUSE)
        return True


def _key(what: What, lane: str | None) -> str:
    return f"longtake:hint:{what}:{lane or '*'}"


def _ask_later() -> None:
    global _not_asked_until  # noqa: PLW0603 - one breaker for the process
    if current().valkey_url is not None:
        _not_asked_until = time.monotonic() + KEY_PAUSE


def _valkey() -> redis.Redis | None:
    """Where hint keys live; None where there is no such server, or it failed a moment ago."""
    return None if time.monotonic() < _not_asked_until else _client()


@cache
def _client() -> redis.Redis | None:
    url = current().limits_url
    if url is None:
        return None
    if url.startswith("redis+socket://"):
        url = url.replace("redis+socket://", "unix://", 1)
    return redis.Redis.from_url(
        url,
        socket_timeout=KEY_TIMEOUT,
        socket_connect_timeout=KEY_TIMEOUT,
        retry=Retry(NoBackoff(), 0),  # the client's own would wait for seconds
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
