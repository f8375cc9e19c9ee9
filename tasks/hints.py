"""Hints: messages that make work start sooner. A lost hint is harmless: the tick sends more."""

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

from models.verbs import What
from settings import current
from tasks.queue import BROKER_TIMEOUT, PUMPS, app
from tasks.routing import queue_of

log = structlog.get_logger()

#: Timeout of a hint key's query, in seconds; short, since it only avoids duplicate hints.
KEY_TIMEOUT = 1.0
#: How long hints are sent without their keys after the limits Valkey failed, in seconds.
KEY_PAUSE = 10.0
#: Maximum number of hints waiting for the publishing thread; the tick replaces dropped ones.
_MOST_WAITING = 1000

#: No query of the limits Valkey before this time (monotonic), since it has just failed.
_keys_paused_until = 0.0


def send(what: What, lane: str | None) -> bool:
    """Send a hint unless one is already queued; whether it was sent. Broker errors are only logged.

    Hints never expire: duplicate and late hints are harmless, and clocks of two hosts may differ.
    """
    name, _ = PUMPS[what]
    try:
        if not _is_first(what, lane):
            return False
    except (redis.RedisError, OSError) as error:
        log.warning("hint.not_sent", what=what, lane=lane, error=type(error).__name__)
        return False
    try:
        app.send_task(name, kwargs={"lane": lane}, queue=queue_of(what, lane), retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        log.warning("hint.not_sent", what=what, lane=lane, error=type(error).__name__)
        arrived(what, lane)  # nothing is queued: the next hint must not wait for the key's expiry
        return False
    return True


def arrived(what: What, lane: str | None) -> None:
    """Allow the next hint for this lane, since a pump is starting."""
    valkey = _valkey()
    if valkey is not None:
        try:
            valkey.delete(_key(what, lane))
        except (redis.RedisError, OSError) as error:
            _pause_keys()
            log.warning("hint.key_not_deleted", what=what, lane=lane, error=type(error).__name__)


def _is_first(what: What, lane: str | None) -> bool:
    """Whether no hint is queued; a hint lost with its worker blocks others for one lease only.

    Raises:
        RedisError, OSError: the keys are in the broker's own Valkey, which is unavailable.
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
        # The broker is another server: a duplicate hint is better than none.
        _pause_keys()
        log.warning("hint.keys_unavailable", error=type(error).__name__, pause=KEY_PAUSE)
        return True


def _key(what: What, lane: str | None) -> str:
    return f"longtake:hint:{what}:{lane or '*'}"


def _pause_keys() -> None:
    global _keys_paused_until  # noqa: PLW0603 - one breaker for the process
    if current().valkey_url is not None:
        _keys_paused_until = time.monotonic() + KEY_PAUSE


def _valkey() -> redis.Redis | None:
    """The client for hint keys; None if there is no such server or it has just failed."""
    return None if time.monotonic() < _keys_paused_until else _client()


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
        retry=Retry(NoBackoff(), 0),  # the default retries would take seconds
    )


class Hinter:
    """Sends hints from its own thread, so that callers never wait for the broker.

    A lane's hint waits once, however often it is asked for: it goes out after the last commit that
    asked for it, and no lane's hint waits behind many of another.
    """

    def __init__(self) -> None:
        #: What waits, until the moment before it is sent: what is committed later asks anew.
        self._asked: set[tuple[What, str | None]] = set()
        self._waiting: queue.Queue[tuple[What, str | None] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="longtake-hints", daemon=True)
        self._thread.start()

    def nudge(self, what: What, lane: str | None) -> None:
        """Queue a hint unless it waits already; never blocks."""
        hint = (what, lane)
        if hint in self._asked:
            return
        self._asked.add(hint)
        try:
            self._waiting.put_nowait(hint)
        except queue.Full:
            self._asked.discard(hint)
            log.warning("hint.dropped", what=what, lane=lane)

    def close(self) -> None:
        try:
            self._waiting.put(None, timeout=1)
        except queue.Full:
            log.warning("hint.publisher_still_running")  # a daemon thread: it ends with the process
            return
        self._thread.join(timeout=2 * BROKER_TIMEOUT)

    def _run(self) -> None:
        while (hint := self._waiting.get()) is not None:
            self._asked.discard(hint)
            send(*hint)
