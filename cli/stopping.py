"""Ctrl-C and SIGTERM as one orderly stop of the running task, however often they come."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from signal import Signals

_STOPPING = (Signals.SIGINT, Signals.SIGTERM, Signals.SIGHUP)


@dataclass(slots=True)
class Stop:
    """Whether somebody asked for it."""

    asked: bool = False


@contextmanager
def stopped_by_signals(on_stop: Callable[[], None]) -> Iterator[Stop]:
    """Cancels the current task at the first signal; later ones change nothing.

    A stop is bounded everywhere, and one that is interrupted would leave processes behind.
    """
    task, stop, loop = asyncio.current_task(), Stop(), asyncio.get_running_loop()

    def cancel() -> None:
        if not stop.asked and task is not None:
            stop.asked = True
            on_stop()
            task.cancel()

    for signal in _STOPPING:
        loop.add_signal_handler(signal, cancel)
    try:
        yield stop
    finally:
        for signal in _STOPPING:
            loop.remove_signal_handler(signal)
