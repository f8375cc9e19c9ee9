"""`python -m api` as a process on a real socket: big bodies, hints sent, a graceful end."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from redis import Redis

from tests.integration.api.conftest import ENVIRONMENT

ROOT = Path(__file__).parents[3]
PATH = "/v1/video/generations"
KEY = "lt_" + "a" * 32


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _wait_for(what: Callable[[], bool], *, seconds: float = 180.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not come to pass in time"
        time.sleep(0.02)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def server(database_url: str, valkey_url: str, tmp_path: Path) -> Iterator[Server]:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO tenant (id) VALUES ('acme')")
        connection.execute(
            "INSERT INTO api_key (id, tenant, hash, prefix, is_admin) "
            "VALUES ('key_1', 'acme', sha256(%s::bytea), 'lt_aaaaaa', false)",
            (KEY.encode(),),
        )
    with serving_process(database_url, valkey_url, tmp_path) as started:
        yield started


@contextmanager
def serving_process(
    database_url: str, valkey_url: str, folder: Path, **own: str
) -> Iterator[Server]:
    """`python -m api` until the block ends; keywords are environment variables of its own."""
    port, log = _free_port(), folder / "api.log"
    environment = (
        ENVIRONMENT
        | own
        | {
            "LONGTAKE_DATABASE_URL": database_url,
            "LONGTAKE_BROKER_URL": valkey_url,
            "LONGTAKE_DATA_DIR": str(folder),
            "LONGTAKE_API_PORT": str(port),
        }
    )
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "api"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        started = Server(process, port, log)
        try:
            _wait_for(lambda: _is_ready(started))
            yield started
        finally:
            process.kill()


def _is_ready(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return httpx.get(f"{server.url}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as made:
        yield made


def test_a_submission_sends_its_hint_to_the_broker(client: httpx.Client, valkey_url: str) -> None:
    assert client.post(PATH, json={"prompt": "a fox"}).status_code == 202

    with Redis.from_url(valkey_url) as valkey:
        _wait_for(lambda: valkey.llen("submit") == 1)
        message = json.loads(valkey.lindex("submit", 0))
    assert message["headers"]["task"] == "video.submit"
    assert "fox" not in json.dumps(message)


@pytest.mark.parametrize("encoding", ["with its length", "chunked"])
def test_a_client_that_sends_50_mb_reads_the_413(client: httpx.Client, encoding: str) -> None:
    megabytes = (b" " * 2**20 for _ in range(50))

    answer = client.post(PATH, content=megabytes if encoding == "chunked" else b"".join(megabytes))

    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "payload_too_large"
    assert client.get("/healthz").status_code == 200


def test_a_client_that_sends_all_before_it_reads_is_not_cut_off(server: Server) -> None:
    size = 30 * 2**20
    head = f"POST {PATH} HTTP/1.1\r\nHost: api.test\r\nContent-Length: {size}\r\n\r\n"

    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + b" " * size)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413")


def test_a_client_that_waits_for_a_go_ahead_never_sends_what_is_too_large(server: Server) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {50 * 2**20}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b""
        while received := connection.recv(65536):
            answer += received

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


def test_a_body_that_never_ends_is_cut_off(server: Server) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {KEY}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    megabyte = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode())
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 100_000:
                connection.sendall(megabyte)
                sent += 1
    assert 25 <= sent < 100_000


def test_told_to_stop_it_says_so_and_ends_cleanly(server: Server, client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200

    server.process.send_signal(signal.SIGTERM)

    _wait_for(lambda: client.get("/readyz").status_code == 503, seconds=5)
    assert server.process.wait(timeout=15) == 0
    events = [json.loads(line)["event"] for line in server.log.read_text().splitlines()]
    assert events[0] == "api.starting"
    assert events[-1] == "api.stopped"


def test_wrong_settings_are_told_in_words(tmp_path: Path) -> None:
    environment = {"LONGTAKE_DATA_DIR": str(tmp_path)}

    ended = subprocess.run(
        [sys.executable, "-m", "api"],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 2
    assert "LONGTAKE_DATABASE_URL is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


def _line(number: int) -> bytes:
    return b'{"custom_id": "%d", "prompt": "a fox"}\n' % number


def test_a_batch_whose_connection_is_dropped_in_the_middle_is_nothing(
    server: Server, client: httpx.Client, database_url: str
) -> None:
    body = b"".join(map(_line, range(1000)))
    head = (
        f"POST /v1/batches HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body) + 1}\r\n\r\n"
    )

    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
    _wait_for(lambda: b'"status":499' in server.log.read_bytes())

    assert client.get("/healthz").status_code == 200
    with psycopg.connect(database_url) as database:
        assert database.execute("SELECT count(*) FROM job").fetchone() == (0,)


def test_a_line_of_199_mb_is_refused_and_never_held(server: Server, client: httpx.Client) -> None:
    assert client.post("/v1/batches", content=_line(0)).status_code == 202  # all is imported now
    process = psutil.Process(server.process.pid)
    before, most = process.memory_info().rss, 0

    def pieces() -> Iterator[bytes]:
        nonlocal most
        yield b'{"prompt": "'
        for _ in range(199):
            yield b"x" * 2**20
            most = max(most, process.memory_info().rss)
        yield b'"}\n' + _line(1)

    answer = client.post("/v1/batches", content=pieces(), timeout=120)

    assert answer.status_code == 400
    (error,) = answer.json()["error"]["errors"]
    assert (error["line"], error["code"]) == (1, "line_too_long")
    assert max(most, process.memory_info().rss) - before < 30 * 2**20


def test_a_process_killed_before_the_commit_leaves_nothing_and_the_repeat_is_one_batch(
    server: Server, client: httpx.Client, database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    body = b"".join(map(_line, range(600)))
    headers = {"Idempotency-Key": "once"}
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    def send() -> None:
        with suppress(httpx.TransportError):
            client.post("/v1/batches", content=body, headers=headers, timeout=60)

    with psycopg.connect(database_url) as holder, psycopg.connect(database_url) as looker:
        looker.autocommit = True
        holder.execute("LOCK TABLE batch IN EXCLUSIVE MODE")
        sending = threading.Thread(target=send)
        sending.start()
        _wait_for(lambda: looker.execute(waits).fetchone() == (1,))
        server.process.kill()
        sending.join(timeout=60)
        holder.rollback()
        of_server = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'longtake' "
            "AND datname = current_database()"
        )
        _wait_for(lambda: looker.execute(of_server).fetchone() == (0,))

        for table in ("job", "attempt", "output", "event", "due", "ledger_entry", "batch"):
            statement = f"SELECT count(*) FROM {table}"  # noqa: S608 - constants
            assert looker.execute(statement).fetchone() == (0,), table

        # When the upload is repeated under its key, and once more, then there is one batch
        with serving_process(database_url, valkey_url, tmp_path) as again:
            url = f"{again.url}/v1/batches"
            headers |= {"Authorization": f"Bearer {KEY}"}
            repeats = [
                httpx.post(url, content=body, headers=headers, timeout=60, trust_env=False)
                for _ in range(2)
            ]
        assert [each.status_code for each in repeats] == [202, 202]
        first, second = (each.json()["id"] for each in repeats)
        assert first == second
        for table, most in (("batch", 1), ("job", 600), ("attempt", 600)):
            statement = f"SELECT count(*) FROM {table}"  # noqa: S608 - constants
            assert looker.execute(statement).fetchone() == (most,), table


def test_a_batch_of_more_than_200_mb_is_refused_unread(
    server: Server, client: httpx.Client
) -> None:
    # Given a request that says so
    head = (
        f"POST /v1/batches HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {200 * 2**20 + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode())
        answer = b""
        while piece := connection.recv(4096):  # to the end: the connection is closed after it
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"maximum of 200 MB" in answer

    # And one that does not
    def pieces() -> Iterator[bytes]:
        for _ in range(201):
            yield b"\n" * 2**20

    answered = client.post("/v1/batches", content=pieces(), timeout=120)
    assert answered.status_code == 413
    assert answered.json()["error"]["type"] == "payload_too_large"
