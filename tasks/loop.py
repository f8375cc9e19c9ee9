"""One event loop per process, in its own thread, created on first use, after any fork."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import structlog
import uvloop

from settings import current
from tasks.engine import Engine

T = TypeVar("T")

log = structlog.get_logger()

#: The garbage collector's threshold for its young generation, in objects: several times as many as
#: one pump holds, so that reference counting has freed most of them before a collection.
GC_THRESHOLD = 10_000
#: Seconds that what ends with the process may take, each.
ENDS_WITHIN = 30.0


class Runtime:
    """An event loop in its own thread, and the engine that uses it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = uvloop.new_event_loop()
        self.engine = Engine.build(current())
        #: What ends before the engine is closed, each with a timeout of its own.
        self.before_close: list[Callable[[], Coroutine[Any, Any, None]]] = []
        _tune_garbage_collector()
        self._thread = threading.Thread(target=self._run, name="longtake-loop", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` on the loop; any thread may wait for the returned future."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """Close connections and end the thread, with timeouts, since the process is exiting."""
        for work in self.before_close:
            try:
                self.start(work()).result(timeout=ENDS_WITHIN)
            except TimeoutError:
                log.warning("loop.not_ended_in_time")
        self.start(self.engine.close()).result(timeout=5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _tune_garbage_collector() -> None:
    """Exclude long-lived objects from garbage collection, which took a fifth of a poll's CPU."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])


_lock = threading.Lock()
_runtime: Runtime | None = None


def runtime() -> Runtime:
    """The process's own runtime; a forked child creates another."""
    global _runtime  # noqa: PLW0603 - the one per-process object
    with _lock:
        if _runtime is None or _runtime.pid != os.getpid():
            _runtime = Runtime()
        return _runtime


def close() -> None:
    """Close this process's runtime, if it has one."""
    global _runtime
    with _lock:
        ours, _runtime = _runtime, None
    if ours is not None and ours.pid == os.getpid():
        ours.close()


def _replace_lock() -> None:
    """Replace the lock in a forked child: another thread may have held it during the fork."""
    global _lock  # noqa: PLW0603 - see above
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_replace_lock)
