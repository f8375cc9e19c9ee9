"""A stack of real processes that a test may kill: workers, a beat, a simulator, a receiver."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.conftest import ROOT, Simulator
from tests.faults.harness.receiver import Mood
from tests.faults.harness.stack import Crew, FaultStack, fault_stack

QUEUES = "submit,poll,store,deliver,control,intake"

#: Gives a text to the end of the run's output.
Print = Callable[[str, str], None]

_TABLES = pytest.StashKey[list[tuple[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos", "kill, drop and flush at random (make chaos)")
    group.addoption("--chaos-jobs", type=int, default=1000, help="jobs of the random run")
    group.addoption("--chaos-seed", type=int, default=None, help="replays a run's strikes")
    group.addoption("--chaos-broker", choices=("valkey", "rabbitmq"), default="valkey")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for title, text in config.stash.get(_TABLES, []):
        terminalreporter.section(title)
        terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def print_at_the_end(pytestconfig: pytest.Config) -> Print:
    tables = pytestconfig.stash.setdefault(_TABLES, [])
    return lambda title, text: tables.append((title, text))


@pytest.fixture(scope="session")
def shared_house() -> Iterator[FaultStack]:
    # Short time-outs: a test waits for most of them to run out.
    quick = Crew(variables={"LONGTAKE_SUBMIT_TIMEOUT_SECONDS": "2"})
    with fault_stack(quick) as house:
        yield house


@pytest.fixture
def house(shared_house: FaultStack) -> FaultStack:
    """One worker, one beat, the API, and a far side without faults; the database is kept."""
    shared_house.simulator.calm()
    shared_house.receiver.feel(Mood.WELL)
    shared_house.start()
    return shared_house


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: kills processes that a stack needs")


@dataclass(slots=True)
class Stack:
    """Processes of ours on servers of the session; everything that was started is ended."""

    env: dict[str, str]
    log: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def worker(self, *, pool: str = "threads", slots: int = 24, **env: str) -> Any:
        options = ("-Q", QUEUES, "-E", "--without-gossip", "--without-mingle")
        return self._celery("worker", "--pool", pool, "-c", str(slots), *options, **env)

    def beat(self) -> Any:
        return self._celery("beat", "-s", str(self.log.parent / "beat"))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL to the process and its children, at once."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)

    def stop(self) -> None:
        for process in self.running:
            self.kill(process)

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        url = self.env["LONGTAKE_DATABASE_URL"]
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(sql, parameters).fetchall()

    def until(self, sql: str, *, within: float) -> None:
        """Wait until the query gives rows; its failure shows what the workers said last."""
        deadline = time.monotonic() + within
        while not self.rows(sql):
            if time.monotonic() > deadline:
                said = "\n".join(self.log.read_text().splitlines()[-40:])
                states = self.rows("SELECT state, count(*) FROM job GROUP BY state")
                pytest.fail(f"not so within {within} s: {sql}\njobs: {states}\n{said}")
            time.sleep(0.05)

    def _celery(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker", *arguments],
                cwd=ROOT,
                env=self.env | env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(process)
        return process


@pytest.fixture
def stack(
    database_url: str, valkey_url: str, simulator: Simulator, tmp_path: Path
) -> Iterator[Stack]:
    """No process yet; leases and time-outs are short, so that a death is soon found out."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ours = {
        "LONGTAKE_DATABASE_URL": database_url,
        "LONGTAKE_BROKER_URL": valkey_url,
        "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
        "LONGTAKE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
        "LONGTAKE_DATA_DIR": str(tmp_path),
        "LONGTAKE_LEASE_SECONDS": "3",
        "LONGTAKE_PUMP_SECONDS": "5",
        "LONGTAKE_SUBMIT_TIMEOUT_SECONDS": "3",
        "LONGTAKE_POLL_FLOOR_SECONDS": "0.2",
    }
    stack = Stack(inherited | dict(simulator.env) | ours, tmp_path / "workers.log")
    stack.log.touch()
    yield stack
    stack.stop()


@dataclass(slots=True)
class Receiver:
    """Whoever asked for webhooks: keeps each event's bodies by its id."""

    url: str = ""
    events: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def jobs(self) -> list[str]:
        """The job of every event, once for each event."""
        return [json.loads(bodies[0])["data"]["id"] for bodies in self.events.values()]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.events[self.headers["webhook-id"]].append(body)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass  # the test says what it saw

    with _served(Handler) as port:
        receiver.url = f"http://127.0.0.1:{port}/hook"
        yield receiver


@contextmanager
def _served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()
