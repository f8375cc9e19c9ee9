"""The whole stack as processes of a test's own, any of which may be killed at any time."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from models.database import Database
from models.invariants import Violation, violations
from models.keys import create_key
from models.migrate import upgrade
from providers.registry import PROVIDERS, accounts, names_credentials
from settings import load
from stack.servers.postgres import EmbeddedPostgres
from stack.servers.server import living, mark_of, send, wait_until
from tests.faults.harness.brokers import Broker, Valkey
from tests.faults.harness.client import Client
from tests.faults.harness.processes import ROOT, Process
from tests.faults.harness.receiver import Receiver, receiving
from tests.faults.harness.upstreams import Upstreams, free_port, upstreams

#: Every queue: one worker does all.
ALL_QUEUES = "submit,submit_long,prepare,poll,store,deliver,control,intake"
#: How often an operation is polled at most, in seconds.
POLL_FLOOR = "0.3"
_BREAK_OURS_OFF = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'longtake'
"""
#: More than any server of a test allows.
MOST_CONNECTIONS = 1000
#: How long a database that was killed may refuse us, in seconds.
DATABASE_PATIENCE = 150.0

#: Whose jobs a test submits, unless it says otherwise.
TENANT = "default"

_PYTHON = (sys.executable, "-P", "-m")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How many of each, and what they are told."""

    workers: int = 1
    beats: int = 1
    #: Seconds that a claimed row belongs to its worker.
    lease: float = 3.0
    #: Besides what every stack of ours is told.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: The simulator's own.
    simulator_options: Sequence[str] = ()


class FaultStack:
    """Servers, simulator, workers, beats and API, with what a test needs to mistreat them."""

    def __init__(
        self, folder: Path, *, crew: Crew, broker: Broker, simulator: Upstreams, receiver: Receiver
    ) -> None:
        self.folder = folder
        self.broker = broker
        self.simulator = simulator
        self.receiver = receiver
        self.logs = folder / "logs"
        self._postgres = EmbeddedPostgres(folder)
        self.database_url = self._postgres.url()
        self._port = free_port()
        self.environment = self._variables(crew)
        self.workers = [self._worker(f"worker-{n}") for n in range(crew.workers)]
        #: Additional workers, for as long as a test's block lasts.
        self.others: list[Process] = []
        self.beats = [self._beat(f"beat-{n}") for n in range(crew.beats)]
        self.api = self._api("api", self._port)
        self._keys: dict[str, str] = {}
        self.key = self.key_of(TENANT)
        #: Every one that the simulator stands in for: also the lanes of submits and polls.
        self.providers = sorted(accounts(load(self.environment)))

    @property
    def processes(self) -> list[Process]:
        return [*self.workers, *self.beats, self.api]

    @property
    def worker(self) -> Process:
        return self.workers[0]

    def start(self) -> None:
        """Everything that is not running, and wait until all of it works."""
        self.revive()
        for process in self.processes:
            process.ready()

    def revive(self) -> None:
        """Start again what has died, as a supervisor would; returns at once."""
        for process in self.processes:
            if not process.lives:
                process.start()

    @property
    def another_public_url(self) -> str:
        """Another address by which callers reach the API."""
        return f"http://localhost:{self._port}"

    def tell(self, processes: Sequence[Process], **variables: str | None) -> None:
        """What the successors of these are told, and `longtake doctor` with them."""
        for process in processes:
            process.tell(**variables)
        self.environment |= {name: value or "" for name, value in variables.items()}

    def stop(self) -> None:
        for process in self.processes:
            process.thaw()
            process.kill()

    @contextmanager
    def another_worker(
        self,
        *,
        pool: str = "threads",
        slots: int = 24,
        name: str = "another-worker",
        more: Sequence[str] = (),
    ) -> Iterator[Process]:
        """Another worker, ready, for the duration of the block; `more` are Celery options."""
        worker = self._worker(name, pool=pool, slots=slots, more=more)
        self.others.append(worker)
        worker.start()
        try:
            worker.ready()
            yield worker
        finally:
            worker.thaw()
            worker.kill()
            self.others.remove(worker)

    @contextmanager
    def more_apis(self, count: int) -> Iterator[list[str]]:
        """The addresses of more API processes, ready, for as long as the block lasts."""
        ports = [free_port() for _ in range(count)]
        apis = [self._api(f"api-{port}", port) for port in ports]
        try:
            for api in apis:
                api.start()
            for api in apis:
                api.ready()
            yield [_address(port) for port in ports]
        finally:
            for api in apis:
                api.kill()

    @property
    def url(self) -> str:
        """The API's address."""
        return _address(self._port)

    @property
    def is_ready(self) -> bool:
        """Whether the API says that it can do its work."""
        return _is_ready(self.url)

    def client(self, tenant: str = TENANT) -> Client:
        return Client(self.url, key=self.key_of(tenant))

    def key_of(self, tenant: str) -> str:
        """A key of the tenant, made at its first use."""
        if tenant not in self._keys:
            self._keys[tenant] = asyncio.run(_key(self.database_url, tenant))
        return self._keys[tenant]

    # -- what is true ---------------------------------------------------------------------------

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """What the database says; asked again while it is away."""
        until = time.monotonic() + DATABASE_PATIENCE
        while True:
            try:
                with psycopg.connect(
                    self.database_url, row_factory=dict_row, connect_timeout=5, autocommit=True
                ) as connection:
                    return connection.execute(sql.encode(), parameters).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def contradictions(self) -> list[Violation]:
        """What `longtake doctor` would find."""

        async def ask() -> list[Violation]:
            async with await AsyncConnection.connect(
                self.database_url, row_factory=dict_row
            ) as connection:
                return await violations(connection)

        return asyncio.run(ask())

    def doctor(self) -> str:
        """What `longtake doctor` prints, as an operator would call it."""
        return self.longtake("doctor", is_checked=False)

    def longtake(self, *words: str, is_checked: bool = True) -> str:
        """What a command prints; with `is_checked` it must succeed."""
        found = subprocess.run(
            (*_PYTHON, "cli", *words),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert found.returncode == 0 or not is_checked, found.stdout
        return found.stdout.strip()

    def until(self, sql: str, *parameters: object, within: float) -> bool:
        """Whether a query of one boolean column came true in time."""
        return wait_until(lambda: bool(next(iter(self.rows(sql, *parameters)[0].values()))), within)

    def until_final(self, jobs: Sequence[str], *, within: float) -> bool:
        """Whether all of these jobs got their final states in time."""
        return self.until(
            "SELECT count(*) = %s FROM job WHERE id = ANY(%s) AND finished_at IS NOT NULL",
            *(len(jobs), list(jobs)),
            within=within,
        )

    def until_nothing_is_due(self, *, within: float) -> bool:
        """Whether everything unfinished was finished in time: webhooks, late operations and all."""
        return self.until("SELECT count(*) = 0 FROM due", within=within)

    # -- what a test does to the servers --------------------------------------------------------

    def stop_database(self) -> None:
        self._postgres.stop()

    def kill_database(self) -> None:
        """kill -9 of every process of it at once, as when the power fails."""
        self._send_to_database(Signals.SIGKILL)

    def start_database(self) -> None:
        assert self._postgres.start().url == self.database_url

    def freeze_database(self) -> None:
        self._send_to_database(Signals.SIGSTOP)

    def thaw_database(self) -> None:
        self._send_to_database(Signals.SIGCONT)

    @contextmanager
    def all_connections_taken(self) -> Iterator[None]:
        """Every connection, the superuser's included, is somebody else's; ours are broken off."""
        with ExitStack() as taken:
            first = taken.enter_context(psycopg.connect(self.database_url, autocommit=True))
            for _ in range(MOST_CONNECTIONS):
                try:
                    other = psycopg.connect(self.database_url, connect_timeout=5)
                except psycopg.OperationalError:
                    if not first.execute(_BREAK_OURS_OFF).fetchall():
                        break
                else:
                    taken.enter_context(other)
            else:
                pytest.fail(f"{MOST_CONNECTIONS} tries did not take every connection")
            yield

    def _send_to_database(self, signal: Signals) -> None:
        send(living("postgres", mark_of((self.folder / "postgres").resolve())), signal)

    # -- how each process is started ------------------------------------------------------------

    def _variables(self, crew: Crew) -> dict[str, str]:
        """A user's environment, without what the machine is configured for."""
        foreign = ("LONGTAKE_", "FLOWER_", "CELERY_")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(foreign) and not names_credentials(name)
        }
        ours = {
            "LONGTAKE_DATA_DIR": str(self.folder),
            "LONGTAKE_DATABASE_URL": self.database_url,
            "LONGTAKE_BROKER_URL": self.broker.url,
            "LONGTAKE_SECRET_KEYS": "a-key-that-only-fault-tests-use-0123456789",
            "LONGTAKE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
            "LONGTAKE_API_PORT": str(self._port),
            "LONGTAKE_PUBLIC_URL": self.url,
            "LONGTAKE_LEASE_SECONDS": str(crew.lease),
            "LONGTAKE_SUBMIT_TIMEOUT_SECONDS": "5",
            "LONGTAKE_CALLBACK_WAIT_SECONDS": "10",
            "LONGTAKE_POLL_FLOOR_SECONDS": POLL_FLOOR,
        }
        wanted = {
            name for each in PROVIDERS.values() for names in each.credentials for name in names
        }
        wanted |= {each.base_variable for each in PROVIDERS.values()}
        vendors = {name: value for name, value in self.simulator.env.items() if name in wanted}
        return kept | vendors | ours | dict(crew.variables)

    def _worker(
        self, name: str, *, pool: str = "threads", slots: int = 24, more: Sequence[str] = ()
    ) -> Process:
        node = f"{name}@{socket.gethostname()}"
        return self._process(
            name,
            (
                *(*_PYTHON, "celery", "-A", "worker", "worker", "-Q", ALL_QUEUES, "-n", node),
                *("-E", "--pool", pool, "-c", str(slots), "-l", "INFO"),
                *("--without-gossip", "--without-mingle", *more),
            ),
            tells="worker.ready",
        )

    def _beat(self, name: str) -> Process:
        return self._process(
            name,
            (
                *(*_PYTHON, "celery", "-A", "worker", "beat", "-l", "INFO"),
                "--pidfile=",
            ),
            tells="beat: Starting",
        )

    def _api(self, name: str, port: int) -> Process:
        return Process(
            name,
            (*_PYTHON, "api"),
            environment={**self.environment, "LONGTAKE_API_PORT": str(port)},
            logs=self.logs,
            is_ready=lambda _: _is_ready(_address(port)),
        )

    def _process(self, name: str, command: Sequence[str], *, tells: str) -> Process:
        return Process(
            name,
            command,
            environment=self.environment,
            logs=self.logs,
            is_ready=lambda process: tells in process.said,
        )


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _is_ready(url: str) -> bool:
    """Whether the API there says that it can do its work."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


@contextmanager
def fault_stack(crew: Crew, *, broker: Broker | None = None) -> Iterator[FaultStack]:
    """A stack that works, for as long as the block lasts; `broker` is its own Valkey by default."""
    with ExitStack() as exits:
        folder = exits.enter_context(_folder())
        postgres = EmbeddedPostgres(folder)
        exits.callback(postgres.stop)
        upgrade(postgres.start().url)
        ours = broker or Valkey(folder)
        exits.callback(ours.close)
        receiver = exits.enter_context(receiving())
        simulator = exits.enter_context(upstreams(folder / "logs", crew.simulator_options))
        stack = FaultStack(folder, crew=crew, broker=ours, simulator=simulator, receiver=receiver)
        exits.callback(stack.thaw_database)
        exits.callback(stack.stop)
        stack.start()
        yield stack


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="longtake-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL's own account passes through
        (folder / "logs").mkdir()
        yield folder


async def _key(url: str, tenant: str) -> str:
    database = Database(url, connections=2)
    try:
        _, plain = await database.run(lambda connection: create_key(connection, tenant))
    finally:
        await database.close()
    return plain
