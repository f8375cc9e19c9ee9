"""The embedded PostgreSQL: a real server from a wheel, on a Unix socket, durable across kill -9.

It outlives the process that started it: a later start on the same folder adopts it, and a stop
stops it for all users.
"""

import shutil
import stat
import subprocess
from pathlib import Path
from signal import Signals
from urllib.parse import quote

import psutil
import psycopg
import structlog

from stack.servers import account as accounts
from stack.servers.server import (
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

log = structlog.get_logger()

#: Name of the database.
DATABASE = "longtake"
#: Only part of the socket's name: nothing listens on TCP.
PORT = 5432
#: Maximum length of a socket path including its name, in bytes (macOS: 103).
SOCKET_PATH_LIMIT = 100
#: Timeout of a start, including crash recovery, in seconds.
START_BOUND = 120
#: Time for a starting server to write its pid file, in seconds.
NAMING_BOUND = 5.0
#: Timeouts of a fast shutdown, including its checkpoint, and of a kill, in seconds.
STOP_BOUND, KILL_BOUND = 30.0, 10.0

#: Rewritten at every start; all other settings have PostgreSQL's defaults.
_CONFIGURATION = """\
# Longtake writes this file at every start: use ALTER SYSTEM for changes of your own.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_folder}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = '128MB'
fsync = on
synchronous_commit = on
autovacuum_naptime = '5s'      # due is rewritten all the time: a minute's nap lets it bloat
jit = off                      # our statements are short
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
"""


class EmbeddedPostgres:
    """The PostgreSQL of one data folder; files in `postgres/`, log in `logs/`."""

    def __init__(self, data_dir: Path) -> None:
        self._link = data_dir.resolve() / "postgres"
        self._lock = self._link.with_name("postgres.lock")
        self._log = self._link.with_name("logs") / "postgres.log"

    def start(self) -> Running:
        """Start the server, or adopt the one running on this folder.

        Raises:
            EmbeddedServerError: it cannot run here; the message says why and what to do.
        """
        self._link.parent.mkdir(mode=0o711, parents=True, exist_ok=True)  # see `Folder.locked`
        with only_one(self._lock):
            account = accounts.server_account()
            data = accounts.reachable_home(self._link, account)
            adopted = self._adopt()
            if not adopted:
                self._start_server(data, account)
            return Running(self.url(), self._pid(), adopted=adopted)

    def stop(self) -> None:
        """Stop the server for all users; harmless if not running.

        Raises:
            EmbeddedServerError: it survived every signal.
        """
        if not self._link.exists():
            return
        with only_one(self._lock):
            if postmaster := self._postmaster():
                send([postmaster], Signals.SIGINT)  # PostgreSQL's "fast" shutdown
                if not wait_until(lambda: not self._processes(), STOP_BOUND):
                    log.warning("embedded.postgres.slow_stop", pid=postmaster.pid)
            self._kill_orphans()
            shutil.rmtree(_short_socket_folder(self._data()), ignore_errors=True)

    def health(self) -> bool:
        """Whether `select 1` succeeds."""
        try:
            self._ask("select 1")
        except (psycopg.OperationalError, FileNotFoundError):
            return False
        return True

    def url(self, database: str = DATABASE) -> str:
        """Connection URL in libpq's form, which SQLAlchemy also accepts.

        Raises:
            FileNotFoundError: it is not running.
        """
        folder = quote(str(self._socket_folder()))
        return f"postgresql://postgres@/{database}?host={folder}&port={PORT}"

    def _adopt(self) -> bool:
        """Whether a server runs on this folder; waits until it responds or exits.

        A server whose files were removed is not adopted: its pid file is gone too.
        """
        if not self._postmaster():
            return False
        if not wait_until(lambda: self._from_pid_file() == self._postmaster(), NAMING_BOUND):
            return False
        if wait_until(lambda: self.health() or not self._postmaster(), START_BOUND):
            return self._postmaster() is not None
        raise EmbeddedServerError(
            f"PostgreSQL (process {self._pid()}) runs on {self._link} but does not respond; "
            f"its log is {self._log}:\n{tail(self._log)}"
        )

    def _start_server(self, data: Path, account: accounts.Account) -> None:
        self._kill_orphans()
        if other := claimant(data / "postmaster.pid", "postgres"):
            raise EmbeddedServerError(
                f"PostgreSQL (process {other.pid}) was started on these files before their folder "
                f"was renamed to {data}: stop it first."
            )
        programs = accounts.programs(account)
        if not (data / "PG_VERSION").exists():
            _initialise(data, programs, account)
        _check_version(data, programs)
        folder = _make_socket_folder(data, account)
        _remove_leftovers(data, folder)
        configuration = data / "postgresql.conf"
        configuration.write_text(_CONFIGURATION.format(port=PORT, socket_folder=folder))
        configuration.chmod(0o600)
        account.own(configuration)
        self._launch(data, programs, account)
        self._ensure_database()

    def _launch(self, data: Path, programs: Path, account: accounts.Account) -> None:
        # The folder is "." because pg_ctl passes it through a shell. We open the log because the
        # server's account may not be able to.
        how = ["--pgdata=.", "--wait", f"--timeout={START_BOUND}"]
        how.append(f"--options=-c cluster_name={mark_of(data)}")
        with fresh_log(self._log).open("ab") as output:
            started = subprocess.run(
                [programs / "pg_ctl", "start", *how],
                check=False,
                cwd=data,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=START_BOUND + 10,
                **account.run_as,
            )
        if started.returncode:
            raise EmbeddedServerError(
                f"PostgreSQL did not start; its log {self._log} ends with:\n{tail(self._log)}"
            )

    def _ensure_database(self) -> None:
        known = "select from pg_database where datname = %s"
        if not self._ask(known, DATABASE):
            self._ask(f"create database {DATABASE}")

    def _ask(self, sql: str, *parameters: str) -> int:
        with psycopg.connect(self.url("postgres"), connect_timeout=5, autocommit=True) as server:
            return server.execute(sql.encode(), parameters).rowcount

    def _kill_orphans(self) -> None:
        """Kill orphans of a dead postmaster: they hold its shared memory and prevent a start."""
        if not self._processes():
            return
        send(self._processes(), Signals.SIGKILL)
        if not wait_until(lambda: not self._processes(), KILL_BOUND):
            pids = ", ".join(str(process.pid) for process in self._processes())
            raise EmbeddedServerError(f"PostgreSQL's processes {pids} do not exit")

    def _processes(self) -> list[psutil.Process]:
        return living("postgres", mark_of(self._data()))

    def _postmaster(self) -> psutil.Process | None:
        """The process that is neither a child of another nor titled as one."""
        processes = self._processes()
        pids = {process.pid for process in processes}
        for process in processes:
            try:
                is_child = process.cmdline()[0].startswith("postgres:") or process.ppid() in pids
            except (psutil.NoSuchProcess, IndexError):
                continue  # exited meanwhile
            if not is_child:
                return process
        return None

    def _from_pid_file(self) -> psutil.Process | None:
        return claimant(self._data() / "postmaster.pid", "postgres")

    def _pid(self) -> int:
        return int(self._pid_file()[0])

    def _socket_folder(self) -> Path:
        return Path(self._pid_file()[4])

    def _pid_file(self) -> list[str]:
        """Line 1 is the pid, line 5 the socket folder (PostgreSQL: storage-file-layout)."""
        lines = (self._data() / "postmaster.pid").read_text().splitlines()
        if len(lines) <= 4:  # noqa: PLR2004 - still being written
            raise FileNotFoundError(f"{self._data()}: the server is still starting")
        return lines

    def _data(self) -> Path:
        return self._link.resolve()


def _initialise(data: Path, programs: Path, account: accounts.Account) -> None:
    """Create the cluster beside its location and rename it, so that an interrupted run restarts."""
    partial = data.with_name(f"{data.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    account.own(partial)
    made = subprocess.run(
        [
            programs / "initdb",
            "--pgdata=.",
            "--username=postgres",
            "--auth-local=trust",  # the folder is private, and nothing listens on TCP
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale-provider=builtin",  # sorts identically on every machine
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ],
        check=False,
        cwd=partial,
        capture_output=True,
        text=True,
        timeout=START_BOUND,
        **account.run_as,
    )
    if made.returncode:
        raise EmbeddedServerError(f"PostgreSQL could not be initialised in {data}:\n{made.stderr}")
    partial.replace(data)


def _check_version(data: Path, programs: Path) -> None:
    """Refuse files of another major version.

    Raises:
        EmbeddedServerError: the versions differ; the message names both.
    """
    theirs = (data / "PG_VERSION").read_text().strip()
    answer = subprocess.check_output([programs / "postgres", "--version"], text=True, timeout=10)
    ours = answer.split()[-1].split(".")[0]
    if theirs != ours:
        raise EmbeddedServerError(
            f"{data} was made by PostgreSQL {theirs}, and this is {ours}: "
            "dump it with the old version, or move it away to start with an empty database."
        )


def _make_socket_folder(data: Path, account: accounts.Account) -> Path:
    """The data folder, or a short private one if its path is too long or needs quoting."""
    plain = all(letter.isalnum() or letter in "/._-+" for letter in str(data))
    if plain and len(f"{data}/.s.PGSQL.{PORT}".encode()) < SOCKET_PATH_LIMIT:
        return data
    folder = _short_socket_folder(data)
    if not folder.exists():
        folder.mkdir(mode=0o700)
        account.own(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise EmbeddedServerError(f"{folder} belongs to another user: remove it")
    return folder


def _short_socket_folder(data: Path) -> Path:
    return Path("/tmp") / mark_of(data)  # noqa: S108 - short on every Unix; ownership is checked


def _remove_leftovers(data: Path, socket_folder: Path) -> None:
    """Remove a killed server's leftovers: if its pid is reused, they would block a start."""
    socket = socket_folder / f".s.PGSQL.{PORT}"
    for leftover in (data / "postmaster.pid", socket, socket.with_name(f"{socket.name}.lock")):
        leftover.unlink(missing_ok=True)
