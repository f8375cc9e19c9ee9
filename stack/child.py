"""One process of the stack: started in a session of its own, watched, restarted, stopped."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from stack.checks import Check
from stack.errors import StackError
from stack.servers.server import fresh_log, tail

#: How long a process may take until it does its work, in seconds.
START_BOUND = 90.0
#: Between two looks at a process, in seconds.
LOOK = 0.1
#: Waits before a restart: the first, the longest, and what a process must last for the first to
#: apply again, in seconds.
FIRST_WAIT, LONGEST_WAIT, STEADY = 1.0, 30.0, 60.0
#: How long a killed process may take to be gone, in seconds.
KILL_BOUND = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a process is there for, and how to tell that it does it."""

    name: str
    command: tuple[str, ...]
    check: Check
    #: How long it may take to end its work after SIGTERM, in seconds; 0: it is killed at once.
    grace: float
    #: What it takes work from, when it is a worker.
    queues: tuple[str, ...] = ()


def next_wait(last: float, *, lasted: float) -> float:
    """How long to wait before a restart, after a wait of `last` and a life of `lasted` seconds."""
    return FIRST_WAIT if lasted >= STEADY else min(max(2 * last, FIRST_WAIT), LONGEST_WAIT)


class Child:
    """One role's process, and its successors when it dies."""

    def __init__(
        self,
        role: Role,
        *,
        environment: Mapping[str, str],
        logs: Path,
        tell: Callable[[str], None],
    ) -> None:
        self.role = role
        self.log = logs / f"{role.name}.log"
        self._environment = dict(environment)
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Begin; `ready` tells when it does its work."""
        with fresh_log(self.log).open("ab") as log:
            self._process = subprocess.Popen(
                self.role.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is ours to handle
            )

    async def ready(self) -> None:
        """Returns when it does its work.

        Raises:
            StackError: it ended, or did not get there within START_BOUND; with the log's end.
        """
        try:
            async with asyncio.timeout(START_BOUND):
                while not await self.role.check():
                    if not self.lives:
                        raise StackError(f"{self.role.name} ended at its start; {self._log_end()}")
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            raise StackError(
                f"{self.role.name} does not answer after {START_BOUND:.0f} s; {self._log_end()}"
            ) from None

    async def supervise(self, on_restart: Callable[[], None]) -> None:
        """Restart it whenever it dies, later each time; runs until it is cancelled."""
        wait = 0.0
        while True:
            began = time.monotonic()
            await self._death()
            wait = next_wait(wait, lasted=time.monotonic() - began)
            how = _in_words(self._process.returncode) if self._process else "did not start"
            self._tell(f"{self.role.name} {how}; starting it again in {wait:.0f} s ({self.log})")
            await asyncio.sleep(wait)
            try:
                self.start()
            except OSError as error:
                self._process = None
                self._tell(f"{self.role.name} can't be started: {error.strerror}")
            on_restart()

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """SIGTERM, and SIGKILL to all of its session when its grace is over, or at `hurry`."""
        if self._process is None:
            return
        self._signal(Signals.SIGTERM)
        ended = await self._ended(self.role.grace, hurry)
        if not ended and self.role.grace and not (hurry and hurry.is_set()):
            self._tell(f"{self.role.name} did not stop within {self.role.grace:.0f} s: killing it")
        # Whatever it started goes with it.
        self._signal(Signals.SIGKILL)
        await self._ended(KILL_BOUND)

    async def _death(self) -> None:
        while self.lives:  # noqa: ASYNC110 - the system has no event for it that all loops know
            await asyncio.sleep(LOOK)

    async def _ended(self, bound: float, hurry: asyncio.Event | None = None) -> bool:
        """Whether it is gone, after `bound` seconds at the latest, or as soon as `hurry` is set."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._death())]
        if hurry is not None:
            waits.append(asyncio.ensure_future(hurry.wait()))
        try:
            await asyncio.wait(waits, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self.lives

    def _signal(self, signal: Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal)

    def _log_end(self) -> str:
        return f"its log {self.log} ends with:\n{tail(self.log, lines=12)}"


def _in_words(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"was killed by {Signals(-returncode).name}"
    return f"ended with exit code {returncode}"
