"""What every test may ask for: its own database, a Valkey, a simulator, folders for servers."""

import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import hypothesis
import psycopg
import pytest
import structlog
from psycopg import sql
from redis import Redis

from stack.servers.postgres import EmbeddedPostgres
from stack.servers.valkey import EmbeddedValkey
from tests._offline.names import NoNames, begin

# A deadline in wall-clock time fails on a shared core, and says nothing about the code.
hypothesis.settings.register_profile("longtake", deadline=None)
hypothesis.settings.load_profile("longtake")

# The default renderer draws every local variable of a traceback, which takes seconds for an engine.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)

#: Knows no name: what tests look up beyond their own name servers stays on this machine.
NO_NAMES = begin()

ROOT = Path(__file__).resolve().parents[1]

#: At this speed the simulator's operations take 0.24 to 0.8 s.
SPEED = "100"

#: Folders whose modules take up to minutes each, and so are begun first: where several processes
#: share the modules, none of them is left alone with a long one at the end.
LONG = ("acceptance", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # After pytest-randomly, whose order is kept on both sides.
    items.sort(key=lambda item: item.path.relative_to(ROOT / "tests").parts[0] not in LONG)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def no_names() -> NoNames:
    """The name server that look-ups without a server of the test's own go to."""
    return NO_NAMES


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    with _open_folder() as folder:
        yield folder


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder for a stack of the test's own, whose servers are stopped afterwards."""
    with _open_folder() as folder:
        yield folder
        EmbeddedPostgres(folder).stop()
        EmbeddedValkey(folder).stop()


@pytest.fixture(scope="session")
def postgres_server(servers_dir: Path) -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL: shared by all tests, so nobody stops it."""
    server = EmbeddedPostgres(servers_dir)
    server.start()
    with _administrator(server) as admin:
        # Nothing here outlives the session, so nothing need survive a power cut.
        admin.execute("alter system set fsync = off")
        admin.execute("select pg_reload_conf()")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    from models.migrate import upgrade  # noqa: PLC0415 - tests without a database need no models

    name = "template_migrated"
    with _administrator(postgres_server) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    upgrade(postgres_server.url(name))
    return name


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """The URL of a migrated, empty database that only this test sees."""
    name = f"test_{secrets.token_hex(6)}"
    new, template = sql.Identifier(name), sql.Identifier(template_database)
    with _administrator(postgres_server) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(new, template))
    yield postgres_server.url(name)
    with _administrator(postgres_server) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(new))


@pytest.fixture(scope="session")
def valkey_server(servers_dir: Path) -> Iterator[EmbeddedValkey]:
    """The session's Valkey: shared by all tests, so nobody stops it."""
    server = EmbeddedValkey(servers_dir)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey_url(valkey_server: EmbeddedValkey) -> str:
    """The URL of an empty Valkey."""
    url = valkey_server.url()
    with Redis.from_url(url) as client:
        client.flushall()
    return url


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator: `url` is its address, `env` points a client at it."""

    url: str
    env: Mapping[str, str]
    #: Its own endpoints'; making a client costs more than a question.
    http: httpx.Client

    def bill(self) -> list[dict[str, object]]:
        """One row for every paid POST that was accepted since the test began."""
        return self._data("bill")

    def polls(self) -> dict[str, int]:
        """How often each operation has been polled, by operation id."""
        return {str(row["operation_id"]): int(str(row["polls"])) for row in self._data("polls")}

    def faults(self, faults: Sequence[Mapping[str, object]]) -> None:
        """Strike coming requests: see `POST /_sim/faults`."""
        answer = self.http.post("/_sim/faults", json=list(faults))
        assert answer.status_code == 200, answer.text

    def reset(self) -> None:
        """Forget every operation, charge and fault."""
        self.http.post("/_sim/reset").raise_for_status()

    def _data(self, name: str) -> list[dict[str, object]]:
        answer = self.http.get(f"/_sim/{name}").raise_for_status()
        rows: list[dict[str, object]] = answer.json()["data"]
        return rows


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[Simulator]:
    """The session's simulator, in a process of its own, as Longtake's users run it."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--speed", SPEED]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
                env = http.get("/_sim/env").raise_for_status().json()
                yield Simulator(url, env, http)
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture
def simulator(simulator_process: Simulator) -> Simulator:
    """The simulator with nothing on its bill and no faults pending."""
    simulator_process.reset()
    return simulator_process


@contextmanager
def _open_folder() -> Iterator[Path]:
    """A short path that the account of a server may pass: pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _administrator(server: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(server.url("postgres"), autocommit=True)
