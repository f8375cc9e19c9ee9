"""What the embedded servers have in common: one starts at a time, and whose process is whose."""

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

#: How long a start waits for another process that is starting the same server, in seconds.
LOCK_PATIENCE = 120.0
#: A killed process loses its command line first and its files and ports last: how long that may
#: take, in seconds.
EXIT_PATIENCE = 5.0
#: A log larger than this is put aside at the next start, in bytes.
LOG_LIMIT = 16 * 2**20


class EmbeddedServerError(Exception):
    """An embedded server can't be started or stopped; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    url: str
    pid: int
    #: It was running already: started earlier, maybe by a process that is gone.
    adopted: bool


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Lets one process at a time start the server that `lock` stands for.

    Raises:
        EmbeddedServerError: another process held it for LOCK_PATIENCE.
    """
    with lock.open("w") as file:
        if not wait_until(lambda: _locked(file), LOCK_PATIENCE):
            raise EmbeddedServerError(f"Another process has been starting {lock.stem} for too long")
        yield


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def mark_of(directory: Path) -> str:
    """The name by which the processes that serve `directory` are known; each carries it in sight.

    A pid file alone can't tell: it outlives its server, and the number is given to somebody else.
    """
    return f"longtake-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"


def living(program: str, mark: str) -> list[psutil.Process]:
    """The processes of `program` whose command line or title carries `mark`.

    A zombie has no command line, so it is not among them.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.name() == program and mark in " ".join(process.cmdline()):
                found.append(process)
    return found


def claimant(pid_file: Path, program: str) -> psutil.Process | None:
    """The living process of `program` that wrote `pid_file`, under whatever mark.

    A number that was given to somebody else since belongs to a process born after the file was
    written; a moved folder's server was born before.
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
    """Whether `condition` came true within `bound` seconds."""
    deadline = time.monotonic() + bound
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def fresh_log(log: Path) -> Path:
    """`log`, with its folder made and an overgrown predecessor put aside."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    return log


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a server's log, for an error that has to say why."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return "(it wrote no log)"
    return "\n".join(text.splitlines()[-lines:])
