"""The processes that are measured: started, spoken to, watched while they work, and stopped."""

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

from worker.embedded.server import tail

#: How long a process may take to do its work for the first time, and to end, in seconds.
START_BOUND, STOP_BOUND = 60.0, 20.0
#: Between two looks at a log, and between two looks at memory, in seconds.
_LOOK, _WEIGH = 0.01, 0.5


class NotMeasured(Exception):
    """A benchmark could not be run; the message says why."""


class Process:
    """One process in a folder of logs; leaving the block ends it and its children."""

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
        """Write a line to the process and read its answer."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{line}\n")
        self._popen.stdin.flush()
        return self.line(within=within)

    def line(self, *, within: float) -> str:
        """The next line that it prints; a process that prints none in time is killed."""
        assert self._popen.stdout is not None
        overdue = threading.Timer(within, self._popen.kill)
        overdue.start()
        try:
            line = self._popen.stdout.readline()
        finally:
            overdue.cancel()
        if not line:
            raise NotMeasured(f"{self._log.stem} said nothing:\n{tail(self._log)}")
        return line.strip()

    def wait_for(self, text: str, *, times: int, within: float) -> None:
        """Wait until its log has `text` that many times."""
        self.wait_until(lambda: self.told(text) >= times, within=within, what=repr(text))

    def wait_until(self, condition: Callable[[], bool], *, within: float, what: str) -> None:
        deadline = time.monotonic() + within
        while not condition():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise NotMeasured(
                    f"{self._log.stem} ended, or had no {what} in {within:g} s:\n{tail(self._log)}"
                )
            time.sleep(_LOOK)

    def told(self, text: str) -> int:
        """How often its log has `text`."""
        return self._log.read_text(errors="replace").count(text)


class Tree:
    """A process and its descendants, as one consumer of the machine."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """User and system time so far, of descendants that ended as well."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
                total += getattr(times, "children_user", 0.0)
                total += getattr(times, "children_system", 0.0)
        return total

    def memory(self) -> int:
        """Bytes held now; what processes share is counted once where the system can tell."""
        total = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                held = process.memory_full_info()
                total += getattr(held, "pss", held.uss)
        return total


class Meter:
    """What two trees consumed while the block ran: the one under test, and the database's."""

    def __init__(self, tree: Tree, database: Tree) -> None:
        self._tree, self._database = tree, database
        self._over = threading.Event()
        self._weigher = threading.Thread(target=self._weigh, daemon=True)
        self.seconds = self.cpu_seconds = self.database_seconds = 0.0
        self.peak_memory = 0

    def __enter__(self) -> Self:
        self.cpu_seconds -= self._tree.cpu_seconds()
        self.database_seconds -= self._database.cpu_seconds()
        self._weigher.start()
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
        self._weigher.join(timeout=5)

    def _weigh(self) -> None:
        while not self._over.wait(_WEIGH):
            self.peak_memory = max(self.peak_memory, self._tree.memory())
