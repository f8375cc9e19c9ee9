"""Processes under measurement: starting, communicating, metering and stopping."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from stack.servers.server import tail

#: Timeouts for a process's first work, and for its exit, in seconds.
START_BOUND, STOP_BOUND = 60.0, 20.0
#: Polling intervals of a log, and of memory, in seconds.
_LOG_INTERVAL, _MEMORY_INTERVAL = 0.01, 0.5


class NotMeasured(Exception):
    """A benchmark could not be run; the message says why."""


class Process:
    """One process with a log file; leaving the block terminates it and its children."""

    def __init__(
        self, name: str, *arguments: str, environment: Mapping[str, str], logs: Path
    ) -> None:
        self._log = logs / f"{name}.log"
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.tree = Tree(self._popen.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        children = self.tree.processes()
        self._popen.terminate()
        try:
            self._popen.wait(STOP_BOUND)
        except subprocess.TimeoutExpired:
            for process in children:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._popen.wait(STOP_BOUND)

    def ask(self, line: str, *, within: float) -> str:
        """Write a line to the process and read its reply."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{line}\n")
        self._popen.stdin.flush()
        return self.line(within=within)

    def line(self, *, within: float) -> str:
        """The process's next output line; it is killed if none comes in time."""
        assert self._popen.stdout is not None
        overdue = threading.Timer(within, self._popen.kill)
        overdue.start()
        try:
            line = self._popen.stdout.readline()
        finally:
            overdue.cancel()
        if not line:
            raise NotMeasured(f"{self._log.stem} printed nothing:\n{tail(self._log)}")
        return line.strip()

    def wait_for(self, text: str, *, times: int, within: float) -> None:
        """Wait until its log contains `text` that many times."""
        self.wait_until(lambda: self.count_in_log(text) >= times, within=within, what=repr(text))

    def wait_until(self, condition: Callable[[], bool], *, within: float, what: str) -> None:
        deadline = time.monotonic() + within
        while not condition():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise NotMeasured(
                    f"{self._log.stem} exited, or had no {what} within {within:g} s:\n"
                    f"{tail(self._log)}"
                )
            time.sleep(_LOG_INTERVAL)

    def count_in_log(self, text: str) -> int:
        """How often its log contains `text`."""
        return self._log.read_text(errors="replace").count(text)


class Tree:
    """A process and its descendants, measured together."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """User and system time so far, including exited descendants."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
                total += getattr(times, "children_user", 0.0)
                total += getattr(times, "children_system", 0.0)
        return total

    def memory(self) -> int:
        """Bytes in use; shared memory is counted once where the system reports it."""
        total = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                held = process.memory_full_info()
                total += getattr(held, "pss", held.uss)
        return total


class Meter:
    """Resource usage during the block of the tree under test and of the database."""

    def __init__(self, tree: Tree, database: Tree) -> None:
        self._tree, self._database = tree, database
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample_memory, daemon=True)
        self.seconds = self.cpu_seconds = self.database_seconds = 0.0
        self.peak_memory = 0

    def __enter__(self) -> Self:
        self.cpu_seconds -= self._tree.cpu_seconds()
        self.database_seconds -= self._database.cpu_seconds()
        self._sampler.start()
        self.seconds -= time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds += time.perf_counter()
        self.cpu_seconds += self._tree.cpu_seconds()
        self.database_seconds += self._database.cpu_seconds()
        self._over.set()
        self._sampler.join(timeout=5)

    def _sample_memory(self) -> None:
        while not self._over.wait(_MEMORY_INTERVAL):
            self.peak_memory = max(self.peak_memory, self._tree.memory())
