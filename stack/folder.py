"""A stack's data folder: who may use it, the secrets kept in it, what it tells other processes."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from typing import Any

import psutil

from settings import STACK_FILE
from stack.errors import StackError
from stack.servers.server import wait_until

#: The variable by which a stack's processes are known, whoever started them: the folder's path.
MARK = "LONGTAKE_STACK"
#: How long processes of a killed stack may take to end, and then a kill, in seconds.
END_BOUND, KILL_BOUND = 15.0, 5.0


class Folder:
    """One data folder, which belongs to one stack at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self._stack_file = self.path / STACK_FILE

    @property
    def mark(self) -> str:
        return str(self.path)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Holds the folder; the lock ends with this process, however that ends.

        Raises:
            StackError: another stack runs on it, or it can't be written.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "stack.lock").open("a+")
        except OSError as error:
            raise StackError(f"{self.path} can't be used: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise StackError(
                    f"a stack runs on {self.path} already (process {lock.read().strip()}): "
                    "stop it, or choose another folder (--data-dir, or LONGTAKE_DATA_DIR)"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            try:
                yield
            finally:
                self.forget()

    def kept(self, name: str) -> str | None:
        """The secret in file `name`, if there is one."""
        try:
            return (self.path / name).read_text().strip() or None
        except FileNotFoundError:
            return None

    def keep(self, name: str, value: str) -> None:
        """Writes a file (0600) whole or not at all."""
        path = self.path / name
        half = path.with_name(f"{name}.{os.getpid()}.new")
        half.unlink(missing_ok=True)
        half.touch(mode=0o600)
        half.write_text(value + "\n")
        half.replace(path)

    def publish(self, settings: Mapping[str, Any], *, pids: Mapping[str, int]) -> None:
        """Tells other processes of this machine how to reach the stack; see `settings.load`."""
        self.keep(STACK_FILE, json.dumps({"pids": pids, "settings": settings}, indent=2))

    def forget(self) -> None:
        """Takes back what `publish` told."""
        self._stack_file.unlink(missing_ok=True)

    def discard(self) -> None:
        """Removes it with everything in it, and what PostgreSQL keeps elsewhere for it.

        See `stack.servers.account.reachable_home`; nothing may run on it any more.
        """
        postgres = self.path / "postgres"
        if postgres.is_symlink():
            shutil.rmtree(postgres.resolve(), ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def strays(self) -> list[psutil.Process]:
        """What a stack of this folder left running when it was killed."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                marked = process.environ().get(MARK) == self.mark
                if marked and process.pid != os.getpid():
                    found.append(process)
        return found

    def ask_strays(self) -> bool:
        """Ask them to end, as whoever stops a stack does; whether there are any."""
        strays = self.strays()
        for process in strays:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(Signals.SIGTERM)
        return bool(strays)

    def end_strays(self) -> list[str]:
        """Ends them, and says what they were: "celery (process 41)".

        Raises:
            StackError: one survived every signal.
        """
        names = []
        for process in self.strays():
            with suppress(psutil.NoSuchProcess):
                names.append(f"{process.name()} (process {process.pid})")
        for signal, bound in ((Signals.SIGTERM, END_BOUND), (Signals.SIGKILL, KILL_BOUND)):
            for process in self.strays():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal)
            if wait_until(lambda: not self.strays(), bound):
                return names
        pids = ", ".join(str(process.pid) for process in self.strays())
        raise StackError(f"processes {pids} of an earlier stack on {self.path} do not end")
