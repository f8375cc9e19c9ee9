"""Ctrl-C and SIGTERM as one orderly stop of the running task; Ctrl-C again as a stop at once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import Signals

_STOPPING = (Signals.SIGINT, Signals.SIGTERM, Signals.SIGHUP)
#: A Ctrl-C so soon after the first is the same one, passed on by whoever started us: seconds.
SAME = 0.5


@dataclass(slots=True)
class Stop:
    """Whether somebody asked for it, and whether it is to be at once, whatever that costs."""

    asked: bool = False
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


@contextmanager
def stopped_by_signals(on_stop: Callable[[], None]) -> Iterator[Stop]:
    """Cancels the current task at the first signal; a later Ctrl-C sets `hurry`.

    Other later signals change nothing: a stop is bounded everywhere, and one that is interrupted
    would leave processes behind.
    """
    task, stop, loop = asyncio.current_task(), Stop(), asyncio.get_running_loop()
    asked_at = 0.0

    def cancel(signal: Signals) -> None:
        nonlocal asked_at
        if not stop.asked and task is not None:
            stop.asked, asked_at = True, loop.time()
            on_stop()
            task.cancel()
        elif signal is Signals.SIGINT and loop.time() - asked_at > SAME:
            stop.hurry.set()

    for signal in _STOPPING:
        loop.add_signal_handler(signal, cancel, signal)
    try:
        yield stop
    finally:
        for signal in _STOPPING:
            loop.remove_signal_handler(signal)
