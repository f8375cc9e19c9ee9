"""One process under test: started, killed, frozen and started again, as a fault test wants it."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stack.servers.server import tail, wait_until

ROOT = Path(__file__).resolve().parents[3]
#: How long a process may take until it does its work, and a killed one until it is gone: seconds.
START_BOUND, KILL_BOUND = 90.0, 10.0


class Process:
    """A role's process and its successors; all of them write into one log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        logs: Path,
        is_ready: Callable[["Process"], bool],
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._command = command
        self._environment = dict(environment)
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None
        self._began_at = 0
        self.starts = 0

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the present one, which is also its session's; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def returncode(self) -> int | None:
        """Of the last one that ended; negative is the signal that killed it."""
        return self._process.poll() if self._process else None

    @property
    def said(self) -> str:
        """What the present one has written."""
        with self.log.open("rb") as log:
            log.seek(self._began_at)
            return log.read().decode(errors="replace")

    def tell(self, **variables: str | None) -> None:
        """What its successors are told from now on; None takes a variable away."""
        for name, value in variables.items():
            if value is None:
                self._environment.pop(name, None)
            else:
                self._environment[name] = value

    @property
    def is_ready(self) -> bool:
        """Whether it does its work."""
        return self.lives and self._is_ready(self)

    def start(self, **more: str) -> None:
        """Begin, with `more` variables; returns at once."""
        assert not self.lives, f"{self.name} runs already"
        self._began_at = self.log.stat().st_size if self.log.exists() else 0
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> None:
        """Returns when it does its work; bounded."""
        wait_until(lambda: not self.lives or self._is_ready(self), START_BOUND)
        assert self.is_ready, f"{self.name} does not start:\n{tail(self.log, lines=20)}"

    def kill(self) -> None:
        """kill -9, of it and of whatever it started."""
        self.send(signal.SIGKILL)
        assert wait_until(lambda: not self.lives, KILL_BOUND), f"{self.name} survived SIGKILL"

    def stop(self, *, within: float) -> bool:
        """SIGTERM; whether it ended by itself in time, and well."""
        self.send(signal.SIGTERM)
        if wait_until(lambda: not self.lives, within):
            return self.returncode == 0
        self.kill()
        return False

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """A signal to its whole session; none to a process that is gone."""
        if self._process is not None and self.lives:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
