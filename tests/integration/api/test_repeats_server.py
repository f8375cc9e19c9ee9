"""Requests that are sent again over a real socket, to a process that answers late or never."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest

from tests.integration.api.conftest import ENVIRONMENT

ROOT = Path(__file__).parents[3]
PATH = "/perf/v1/video/generations"
KEY = "lt_" + "a" * 32
BODY = {"prompt": "a fox in fresh snow"}
#: Starts the API with `after`, which runs between a job's commit and its answer.
_SCRIPT = """
import asyncio, os, pathlib, signal, sys
from api.__main__ import main
from tasks import jobs

submit, number = jobs.submit, 0

async def submitting(*args, **names):
    global number
    accepted = await submit(*args, **names)
    number += 1
    await after(number)
    return accepted

async def after(number):
    {after}

jobs.submit = submitting
sys.exit(main())
"""
_NOTHING = "pass"
_DIES = "os.kill(os.getpid(), signal.SIGKILL)"
_FAILS_TWICE = "assert number > 2"


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.post(
                self.url + PATH, json=BODY, headers={"Authorization": f"Bearer {KEY}"} | named
            )

    def send(self) -> socket.socket:
        """A request on a connection of its own, whose answer is not read."""
        content = json.dumps(BODY)
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n{content}".encode()
        )
        return connection

    def client(self, **options: Any) -> openai.OpenAI:
        """A client of Stainless' making, which sends again by itself."""
        return openai.OpenAI(api_key=KEY, base_url=self.url + "/perf/v1", **options)


Serve = Callable[..., Server]


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts processes of the API on one database."""
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO tenant (id) VALUES ('acme')")
        connection.execute(
            "INSERT INTO api_key (id, tenant, hash, prefix, is_admin) "
            "VALUES ('key_1', 'acme', sha256(%s::bytea), 'lt_aaaaaa', false)",
            (KEY.encode(),),
        )
    environment = ENVIRONMENT | {
        "LONGTAKE_DATABASE_URL": database_url,
        "LONGTAKE_DATA_DIR": str(tmp_path),
    }
    with ExitStack() as stack:

        def start(after: str = _NOTHING) -> Server:
            return stack.enter_context(_running(after, environment, tmp_path / "api.log"))

        yield start


@contextmanager
def _running(after: str, environment: Mapping[str, str], log: Path) -> Iterator[Server]:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-c", _SCRIPT.format(after=after)],
            cwd=ROOT,
            env={**environment, "LONGTAKE_API_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        server = Server(process, port)
        try:
            _wait_for(lambda: _is_ready(server, log))
            yield server
        finally:
            process.kill()


def _is_ready(server: Server, log: Path) -> bool:
    assert server.process.poll() is None, log.read_text()
    try:
        return httpx.get(f"{server.url}/readyz", trust_env=False, timeout=60).is_success
    except httpx.TransportError:
        return False


def _wait_for(what: Callable[[], object], *, seconds: float = 180.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not come to pass in time"
        time.sleep(0.02)


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def _ids(database: psycopg.Connection) -> list[str]:
    return [id_ for (id_,) in database.execute("SELECT id FROM job ORDER BY id")]


def _states(database: psycopg.Connection) -> list[str]:
    return [state for (state,) in database.execute("SELECT state FROM submission ORDER BY at")]


def test_a_client_that_hangs_up_before_the_answer_gets_the_job_at_its_next_try(
    serve: Serve, database: psycopg.Connection, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    until_told = f"while not pathlib.Path({str(go)!r}).exists(): await asyncio.sleep(0.01)"
    server = serve(until_told)
    with server.send():
        _wait_for(lambda: _states(database) == ["open"])
    go.touch()
    _wait_for(lambda: _states(database) == ["lost"])

    again = server.post()

    assert [again.json()["id"]] == _ids(database)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    _wait_for(lambda: _states(database) == ["answered"])
    assert "idempotent-replayed" not in server.post().headers


def test_a_client_that_hung_up_before_the_commit_gets_the_job_too(
    serve: Serve, database: psycopg.Connection, database_url: str
) -> None:
    server = serve()
    server.post(X_App_ID="warm")
    with psycopg.connect(database_url) as holder:
        holder.execute("LOCK TABLE job IN EXCLUSIVE MODE")
        with server.send():
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'job'::regclass"
            _wait_for(lambda: database.execute(waiting).fetchone())
    _wait_for(lambda: len(_ids(database)) == 2)

    again = server.post()

    assert again.headers["idempotent-replayed"] == "true"
    assert len(_ids(database)) == 2


@pytest.mark.parametrize("count", ["", "1"], ids=["without a mark", "marked"])
def test_a_job_of_a_process_that_was_killed_before_it_answered_is_not_made_twice(
    serve: Serve, database: psycopg.Connection, count: str
) -> None:
    dying = serve(_DIES)
    with dying.send() as connection:
        assert connection.recv(1000) == b""
    assert dying.process.wait(timeout=10) == -9
    assert _states(database) == ["open"]

    again = serve().post(**{"x-stainless-retry-count": count} if count else {})

    assert [again.json()["id"]] == _ids(database)
    assert again.headers["idempotent-replayed"] == "true"


def test_a_stainless_client_reads_its_job_after_two_answers_that_failed(
    serve: Serve, database: psycopg.Connection
) -> None:
    with serve(_FAILS_TWICE).client(max_retries=2) as client:
        made: Any = client.post("/video/generations", body=BODY, cast_to=object)

    assert [made["id"]] == _ids(database)


def test_a_stainless_client_that_times_out_reads_the_same_job(
    serve: Serve, database: psycopg.Connection
) -> None:
    with serve("await asyncio.sleep(3600 if number == 1 else 0)").client(timeout=1.5) as client:
        made: Any = client.post("/video/generations", body=BODY, cast_to=object)

    assert [made["id"]] == _ids(database)


def test_four_variants_asked_of_a_stainless_client_are_four(
    serve: Serve, database: psycopg.Connection
) -> None:
    with serve().client() as client:
        made: list[Any] = [
            client.post("/video/generations", body=BODY, cast_to=object) for _ in range(4)
        ]

    assert sorted(each["id"] for each in made) == _ids(database)


def test_a_client_that_sends_four_times_without_a_mark_makes_one_job(
    serve: Serve, database: psycopg.Connection
) -> None:
    """As a client does that repeats each failed POST and names nothing."""
    server = serve("assert number > 3")

    answers = [server.post() for _ in range(4)]

    assert [answer.status_code for answer in answers] == [500, 500, 500, 202]
    assert [answers[-1].json()["id"]] == _ids(database)
