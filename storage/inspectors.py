"""Inspectors: a few warm child processes that look into videos, and what became of each look.

Plain pipes and `subprocess` serve any event loop, thread or prefork pool: nothing is forked from
a running process of ours, and an inspector inherits neither files nor variables. A thread of this
pool waits for each look, so the number of threads is the number of inspectors.
"""

import asyncio
import binascii
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import TypeAdapter, ValidationError

from storage.base import BadVideo, NotAVideo, Truncated, Unavailable, Unreadable
from storage.facts import Probe, Stills
from storage.inspector import LENGTH

log = structlog.get_logger()

#: An inspector's program, before its limits. `-P` and `-s`: it imports our modules and no others.
PROGRAM: Final = (sys.executable, "-P", "-s", "-m", "storage.inspector")
_ROOT: Final = Path(__file__).resolve().parents[1]
#: Seconds until a new inspector must have begun with its first file, beyond that file's.
_START_SECONDS: Final = 30.0
#: Largest answer in bytes: a last frame, in base64.
_LONGEST_ANSWER: Final = 128 * 2**20
_MOST_INSPECTORS: Final = 4
#: Seconds for an inspector that has closed its end to be gone.
_END_SECONDS: Final = 10.0
_BAD: Final[dict[str, type[BadVideo]]] = {"NotAVideo": NotAVideo, "Truncated": Truncated}
_PROBE: Final = TypeAdapter(Probe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an inspector may use for one file, and how many files it may see."""

    #: CPU seconds; a video of 2 GB takes about two.
    cpu_seconds: int = 30
    #: Address space in bytes, of which an inspector takes about 200 MB before its first file.
    memory_bytes: int = 2**30
    wall_seconds: int = 120
    files: int = 200


class Breach(StrEnum):
    """Why an inspector ended with a file."""

    CPU = "it takes too much CPU time"
    MEMORY = "it takes too much memory"
    CRASH = "it crashes the decoder"
    WALL = "it took too long"
    GONE = "the process that read it ended"

    @property
    def is_the_files(self) -> bool:
        """Whether the file causes it on any machine; others may come from load or from us."""
        return self in {Breach.CPU, Breach.MEMORY, Breach.CRASH}


class Ended(Exception):
    """An inspector ended instead of answering."""

    def __init__(self, breach: Breach) -> None:
        super().__init__(breach.value)
        self.breach = breach


_BY_SIGNAL: Final[dict[int, Breach]] = {
    signal.SIGXCPU: Breach.CPU,
    signal.SIGALRM: Breach.WALL,
    **dict.fromkeys(
        (
            signal.SIGSEGV,
            signal.SIGBUS,
            signal.SIGABRT,
            signal.SIGFPE,
            signal.SIGILL,
            signal.SIGSYS,
        ),
        Breach.CRASH,
    ),
}  # SIGKILL is the system's or an operator's, and says nothing of the file


class Inspectors:
    """The pool. Building it starts nothing; the first look starts the first inspector."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        most: int | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.limits = limits or Limits()
        self._program = program
        self._most = most or min(os.cpu_count() or 1, _MOST_INSPECTORS)
        self._threads = ThreadPoolExecutor(self._most, thread_name_prefix="inspector")
        self._lock = threading.Lock()
        self._idle: list[_Inspector] = []
        self._all: set[_Inspector] = set()
        self._is_closed = False

    async def probe(self, path: Path) -> Probe:
        """Measure the video in `path`.

        Raises:
            NotAVideo, Truncated: as `storage.probe.probe`. Unreadable: it breaks the limits or the
                decoder, twice. Unavailable: the look failed through us, or perhaps through us.
        """
        found = await self._look("probe", path)
        try:
            return _PROBE.validate_python(found)
        except ValidationError as error:
            raise _not_now("the answer has another form") from error

    async def last_frame(self, path: Path) -> bytes:
        """The video's last frame as a JPEG; raises as `probe`."""
        return _picture(await self._look("last_frame", path))

    async def stills(self, path: Path) -> Stills:
        """The video's poster and its sheet of frames, as JPEGs; raises as `probe`."""
        match await self._look("stills", path):
            case [poster, sheet]:
                return Stills(poster=_picture(poster), sheet=_picture(sheet))
            case _:
                raise _not_now("the answer has another form")

    def pids(self) -> list[int]:
        """The running inspectors."""
        with self._lock:
            return [one.pid for one in self._all]

    def close(self) -> None:
        """End all inspectors, also those that are at work; looks that wait are cancelled."""
        with self._lock:
            self._is_closed = True
            running = list(self._all)
        for one in running:
            one.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for one in running:
            self._end(one)

    async def _look(self, work: str, path: Path) -> object:
        if self._is_closed:
            raise _not_now("this process is stopping")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._twice, work, path)

    def _twice(self, work: str, path: Path) -> object:
        """Ask an inspector, and a fresh one if it ends: both must blame the file."""
        first = self._once(work, path, is_fresh=False)
        if not isinstance(first, Breach):
            return _done(first)
        second = self._once(work, path, is_fresh=True)
        if not isinstance(second, Breach):
            return _done(second)
        if first.is_the_files and second.is_the_files:
            raise Unreadable(f"the video can't be read: {second}")
        raise _not_now(second)

    def _once(self, work: str, path: Path, *, is_fresh: bool) -> "dict[str, Any] | Breach":
        one = self._take(is_fresh=is_fresh)
        try:
            answer = one.ask(work, path, self.limits.wall_seconds + _START_SECONDS)
        except Ended as ended:
            self._end(one)
            log.warning(
                "inspector.ended",
                work=work,
                why=ended.breach.name.lower(),
                code=one.code,
                files=one.files,
            )
            return ended.breach
        except BaseException:
            self._end(one)
            raise
        self._give_back(one)
        return answer

    def _take(self, *, is_fresh: bool) -> "_Inspector":
        with self._lock:
            if self._is_closed:
                raise _not_now("this process is stopping")
            if self._idle and not is_fresh:
                return self._idle.pop()
            try:
                one = _Inspector(self._program, self.limits)
            except OSError as error:
                raise _not_now(f"no process can be started ({error.strerror})") from error
            self._all.add(one)
            return one

    def _give_back(self, one: "_Inspector") -> None:
        with self._lock:
            # A fresh one may have come beside idle ones.
            is_kept = one.files < self.limits.files and len(self._idle) < self._most
            if is_kept and not self._is_closed:
                self._idle.append(one)
                return
        self._end(one)

    def _end(self, one: "_Inspector") -> None:
        one.kill()
        one.wait()
        with self._lock:
            self._all.discard(one)


class _Inspector:
    """One child process; one thread at a time asks it."""

    def __init__(self, program: Sequence[str], limits: Limits) -> None:
        words = (limits.cpu_seconds, limits.memory_bytes, limits.wall_seconds)
        self.files = 0
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*program, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={"PYTHONPATH": str(_ROOT), "MALLOC_ARENA_MAX": "1"},
            start_new_session=True,  # a Ctrl-C is for its parent, which ends it
        )

        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, or minus the signal that ended it."""
        return self._process.returncode

    def ask(self, work: str, path: Path, seconds: float) -> dict[str, Any]:
        """The answer about one file.

        Raises:
            Ended: it has none.
        """
        self.files += 1
        until = time.monotonic() + seconds
        try:
            self._stdin.write(json.dumps([work, str(path.resolve())]).encode() + b"\n")
            length = int.from_bytes(self._read(LENGTH, until))
            if length > _LONGEST_ANSWER:
                raise Ended(Breach.CRASH)
            answer = json.loads(self._read(length, until))
        except (BrokenPipeError, EOFError):
            raise Ended(self._breach()) from None
        except ValueError:
            raise Ended(Breach.CRASH) from None
        if not isinstance(answer, dict):
            raise Ended(Breach.CRASH)
        if "breach" in answer:
            raise Ended(Breach.MEMORY)
        return answer

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        """Reap it, and close its pipes. It was killed, or its answers ended."""
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    def _read(self, size: int, until: float) -> bytes:
        data = bytearray()
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        while len(data) < size:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise Ended(Breach.WALL)
            piece = self._stdout.read(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def _breach(self) -> Breach:
        """Why its answers ended; it has closed its end, so it ends now."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return Breach.GONE
        return _BY_SIGNAL.get(-code, Breach.GONE)


def _picture(found: object) -> bytes:
    try:
        return b64decode(str(found), validate=True)
    except binascii.Error as error:
        raise _not_now("the answer has another form") from error


def _done(answer: dict[str, Any]) -> object:
    if "done" in answer:
        return answer["done"]
    bad = _BAD.get(str(answer.get("bad")))
    if bad is not None:
        raise bad(str(answer.get("why")))
    raise _not_now(answer.get("failed"))


def _not_now(why: object) -> Unavailable:
    return Unavailable(f"the video could not be looked into: {why}")
