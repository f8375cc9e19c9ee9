"""The slots of a worker's threads: pumps leave some of them free for work that must not wait.

A pump keeps its slot for as long as its slowest request. Were all slots taken, ticks, deadlines and
hints of other lanes would wait for them. A hint that finds no slot is dropped, and the tick repeats
it every second.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.verbs import DECLARED, What
from tasks.queues import Queue

#: Of the slots, those that pumps of providers, storage and receivers leave free; and those that no
#: pump takes, for the tick and other periodic work; and those beside them that only deadlines,
#: cancels and other control work take, however many submits there are.
_FREE_OF_WORK, _FREE_OF_PUMPS, _OF_CONTROL = 4, 8, 16

#: Kinds whose hints share a queue, and so a worker, with periodic work.
_CONTROL = frozenset(each.what for each in DECLARED if each.queue == Queue.CONTROL)


@dataclass(slots=True)
class Slots:
    """The slots of one process; any thread may take one."""

    #: None: not known, or each slot is a process of its own. Then nothing is limited.
    total: int | None = None
    _taken: int = 0
    #: How many of these are taken by control work.
    _by_control: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def taken(self, what: What) -> Iterator[bool]:
        """Take a slot for a pump; whether there was one."""
        with self._lock:
            is_free = self._is_free(what)
            self._count(what, +is_free)
        try:
            yield is_free
        finally:
            with self._lock:
                self._count(what, -is_free)

    def _is_free(self, what: What) -> bool:
        total = self.total
        if total is None:
            return True
        for_pumps = total - total // _FREE_OF_PUMPS
        if what in _CONTROL:
            return self._taken < for_pumps
        if what is What.SUBMIT:  # a worker that only submits has no control work
            return self._taken - self._by_control < for_pumps - total // _OF_CONTROL
        return self._taken < total - total // _FREE_OF_WORK

    def _count(self, what: What, change: int) -> None:
        self._taken += change
        self._by_control += change if what in _CONTROL else 0


#: Of this process; a worker sets how many there are when it starts.
slots = Slots()
