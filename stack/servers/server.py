"""Shared by the embedded servers: start locks, process identification and logs."""

import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import TextIO

import psutil

#: How long a start waits for another process starting the same server, in seconds.
LOCK_PATIENCE = 120.0
#: Time for a killed process, which loses its command line first, to release files and ports, in
#: seconds.
EXIT_PATIENCE = 5.0
#: The umask of all processes of a stack: nobody else reads logs, videos and queued requests.
PRIVATE = 0o077
#: Size above which a log is rotated at the next start, in bytes.
LOG_LIMIT = 16 * 2**20


class EmbeddedServerError(Exception):
    """An embedded server cannot be started or stopped; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running server."""

    url: str
    pid: int
    #: Whether it was already running, possibly started by a process that has exited.
    adopted: bool


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Serialise starts of the server that `lock` belongs to.

    Raises:
        EmbeddedServerError: another process held the lock for LOCK_PATIENCE.
    """
    with private(lock).open("w") as file:
        if not wait_until(lambda: _locked(file), LOCK_PATIENCE):
            raise EmbeddedServerError(
                f"another process has been starting {lock.stem} for more than {LOCK_PATIENCE:.0f} s"
            )
        yield


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def mark_of(directory: Path) -> str:
    """The marker in the command lines of the processes that serve `directory`.

    A pid file is not enough: it outlives its server, and pids are reused.
    """
    return f"longtake-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"


def living(program: str, mark: str) -> list[psutil.Process]:
    """The processes of `program` whose command line or title contains `mark`.

    Zombies have no command line and are not included.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.name() == program and mark in " ".join(process.cmdline()):
                found.append(process)
    return found


def claimant(pid_file: Path, program: str) -> psutil.Process | None:
    """The live process of `program` that wrote `pid_file`, whatever its marker.

    A process that reuses the pid was started after the file was written; a moved folder's server
    was started before.
    """
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        wrote_it = process.create_time() <= pid_file.stat().st_mtime + 1
        if process.name() != program or not wrote_it:
            return None
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return None
    wait_until(lambda: not _is_leaving(process), EXIT_PATIENCE)
    return process if _lives(process) else None


def _is_leaving(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and not process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send(processes: list[psutil.Process], signal: Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal)


def wait_until(condition: Callable[[], bool], bound: float) -> bool:
    """Poll `condition`; returns whether it became true within `bound` seconds."""
    deadline = time.monotonic() + bound
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def fresh_log(log: Path) -> Path:
    """`log` (0600), after creating its folder (0700) and rotating an oversized one."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    return private(log)


def private(path: Path) -> Path:
    """The file, created if missing and closed to other accounts, also one of an earlier version."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a server's log, for error messages."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])
