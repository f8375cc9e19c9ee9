"""A stack's data folder: its lock, its secrets, and the file by which other processes find it."""

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from typing import Any

import psutil

from settings import STACK_FILE
from stack.errors import StackError
from stack.servers.server import private, wait_until

#: The environment variable that tags a stack's processes; its value is the folder's path.
TAG = "LONGTAKE_STACK"
#: The file that a stack locks while it uses the folder.
LOCK = "stack.lock"
#: Timeouts for processes of a killed stack to exit: after SIGTERM and after SIGKILL, in seconds.
END_BOUND, KILL_BOUND = 15.0, 5.0


class Folder:
    """One data folder, used by one stack at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self._stack_file = self.path / STACK_FILE

    @property
    def tag(self) -> str:
        """The value of TAG in this stack's processes."""
        return str(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder; the operating system releases the lock when this process exits.

        Raises:
            StackError: another stack uses the folder, or it is not writable.
        """
        try:
            self._make_private()
            lock = private(self.path / LOCK).open("a+")
        except OSError as error:
            raise StackError(f"{self.path} can't be used: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise StackError(
                    f"another stack (process {lock.read().strip()}) is using {self.path}: "
                    "stop it, or choose another folder (--data-dir, or LONGTAKE_DATA_DIR)"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            try:
                yield
            finally:
                self.unpublish()

    def _make_private(self) -> None:
        """Create the folder closed to others; the mode of one that we did not make stays.

        If we are root, PostgreSQL's own account must be able to pass through.
        """
        try:
            self.path.mkdir(parents=True)
            is_ours = True
        except FileExistsError:
            is_ours = self._is_of_an_earlier_version()
        if is_ours:
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self.logs.chmod(0o700)

    def _is_of_an_earlier_version(self) -> bool:
        """Whether a version that left folder and lock open to others made this one.

        A lock that is closed tells nothing: this version leaves one in whatever folder it is given.
        """
        try:
            lock = (self.path / LOCK).stat().st_mode
        except FileNotFoundError:
            return False
        return bool(lock & 0o077) and not self.path.stat().st_mode & stat.S_ISVTX

    def read(self, name: str) -> str | None:
        """The content of file `name`, or None if it is missing or empty."""
        try:
            return (self.path / name).read_text().strip() or None
        except FileNotFoundError:
            return None

    def save(self, name: str, value: str) -> None:
        """Write a file (0600) atomically."""
        path = self.path / name
        temporary = path.with_name(f"{name}.{os.getpid()}.new")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text(value + "\n")
        temporary.replace(path)

    def publish(self, settings: Mapping[str, Any], *, pids: Mapping[str, int]) -> None:
        """Write the file by which other local processes find the stack; see `settings.load`."""
        self.save(STACK_FILE, json.dumps({"pids": pids, "settings": settings}, indent=2))

    def unpublish(self) -> None:
        """Remove the file that `publish` wrote."""
        self._stack_file.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the folder and PostgreSQL's files outside it; the stack must be stopped.

        See `stack.servers.account.reachable_home`.
        """
        postgres = self.path / "postgres"
        if postgres.is_symlink():
            shutil.rmtree(postgres.resolve(), ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def strays(self) -> list[psutil.Process]:
        """Processes that a killed stack of this folder left running."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                is_tagged = process.environ().get(TAG) == self.tag
                if is_tagged and process.pid != os.getpid():
                    found.append(process)
        return found

    def terminate_strays(self) -> bool:
        """Send SIGTERM to a killed stack's processes; returns whether any exist."""
        strays = self.strays()
        for process in strays:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(Signals.SIGTERM)
        return bool(strays)

    def stop_strays(self) -> list[str]:
        """Stop the processes of a killed stack; returns each as "celery (process 41)".

        Raises:
            StackError: one of them survived SIGKILL.
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
        raise StackError(f"processes {pids} of an earlier stack on {self.path} do not exit")
