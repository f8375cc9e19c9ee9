"""One process of the stack: started in its own session, supervised, restarted and stopped."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

from stack.checks import Check
from stack.errors import StackError
from stack.needs import Needs
from stack.servers.server import PRIVATE, fresh_log, tail

#: Timeout for a process to become ready, in seconds.
START_BOUND = 90.0
#: Interval between two checks of a process, in seconds.
CHECK_INTERVAL = 0.1
#: Delays before a restart: the first and the longest; and how long a process must run before the
#: first applies again, in seconds.
FIRST_WAIT, LONGEST_WAIT, STEADY = 1.0, 30.0, 60.0
#: Timeout for a killed process to exit, in seconds.
KILL_BOUND = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A process of the stack: its command and its health check."""

    name: str
    command: tuple[str, ...]
    check: Check
    #: Time to finish its work after SIGTERM, in seconds; 0: it is killed at once.
    grace: float
    #: The queues that it consumes, if it is a worker.
    queues: tuple[str, ...] = ()
    #: What of the stack's variables it gets.
    needs: Needs = Needs.EVERYTHING
    #: What it gets besides, as the only one.
    own: Mapping[str, str] = field(default_factory=dict)


def next_wait(last: float, *, lasted: float) -> float:
    """Seconds before a restart, after a delay of `last` and an uptime of `lasted` seconds."""
    return FIRST_WAIT if lasted >= STEADY else min(max(2 * last, FIRST_WAIT), LONGEST_WAIT)


class Child:
    """The process of one role, replaced by a new one when it exits."""

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
        """Start the process; `ready` waits until it works."""
        with fresh_log(self.log).open("ab") as log:
            self._process = subprocess.Popen(
                self.role.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C reaches only this process
                umask=PRIVATE,
            )

    async def ready(self) -> None:
        """Wait until the process passes its health check.

        Raises:
            StackError: it exited, or was not ready within START_BOUND; quotes the end of its log.
        """
        try:
            async with asyncio.timeout(START_BOUND):
                while not await self.role.check():
                    if not self.lives:
                        raise StackError(
                            f"{self.role.name} exited during startup; {self._log_end()}"
                        )
                    await asyncio.sleep(CHECK_INTERVAL)
        except TimeoutError:
            raise StackError(
                f"{self.role.name} is not ready after {START_BOUND:.0f} s; {self._log_end()}"
            ) from None

    async def supervise(self, on_restart: Callable[[], None]) -> None:
        """Restart the process whenever it exits, with growing delays; runs until cancelled."""
        wait = 0.0
        while True:
            began = time.monotonic()
            await self._wait_for_exit()
            wait = next_wait(wait, lasted=time.monotonic() - began)
            how = _describe_exit(self._process.returncode) if self._process else "did not start"
            self._tell(f"{self.role.name} {how}; restarting it in {wait:.0f} s ({self.log})")
            await asyncio.sleep(wait)
            try:
                self.start()
            except OSError as error:
                self._process = None
                self._tell(f"{self.role.name} can't be started: {error.strerror}")
            on_restart()

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Send SIGTERM; after its grace, or once `hurry` is set, SIGKILL to its whole session."""
        if self._process is None:
            return
        self._signal(Signals.SIGTERM)
        ended = await self._exits_within(self.role.grace, hurry)
        if not ended and self.role.grace and not (hurry and hurry.is_set()):
            self._tell(f"{self.role.name} did not stop within {self.role.grace:.0f} s: killing it")
        # Also ends the processes that it started.
        self._signal(Signals.SIGKILL)
        await self._exits_within(KILL_BOUND)

    async def _wait_for_exit(self) -> None:
        while self.lives:  # noqa: ASYNC110 - no event for it exists on every platform and loop
            await asyncio.sleep(CHECK_INTERVAL)

    async def _exits_within(self, bound: float, hurry: asyncio.Event | None = None) -> bool:
        """Wait until it exits, `hurry` is set or `bound` seconds pass; whether it has exited."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wait_for_exit())]
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


def _describe_exit(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"was killed by {Signals(-returncode).name}"
    return f"exited with code {returncode}"
