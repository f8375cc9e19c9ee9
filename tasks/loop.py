"""One event loop per process, on a thread of its own, made after the fork when first needed."""

import asyncio
import gc
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

from settings import current
from tasks.engine import Engine

T = TypeVar("T")

#: Values made, less those gone, before the collector looks at the young ones: several times what
#: one pump holds at a time, so that most of them are gone by themselves when it looks.
YOUNG = 10_000


class Runtime:
    """A loop thread and the engine that lives on it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = uvloop.new_event_loop()
        self.engine = Engine.build(current())
        _calm_collector()
        self._thread = threading.Thread(target=self._run, name="longtake-loop", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin `work` on the loop; its future may be waited for in any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """Close connections and end the thread; bounded, since a process is about to end."""
        self.start(self.engine.close()).result(timeout=5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _calm_collector() -> None:
    """Keep the garbage collector off what stays: its looks at it were a fifth of a poll's CPU."""
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


_guard = threading.Lock()
_runtime: Runtime | None = None


def runtime() -> Runtime:
    """The runtime of this very process: connections and threads do not survive a fork."""
    global _runtime  # noqa: PLW0603 - the one per-process object
    with _guard:
        if _runtime is None or _runtime.pid != os.getpid():
            _runtime = Runtime()
        return _runtime


def close() -> None:
    """End this process's runtime, if it has one."""
    global _runtime
    with _guard:
        ours, _runtime = _runtime, None
    if ours is not None and ours.pid == os.getpid():
        ours.close()


def _renew_guard() -> None:
    """A child made while another thread held the lock would wait for it for ever."""
    global _guard  # noqa: PLW0603 - see above
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_renew_guard)
