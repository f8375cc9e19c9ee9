"""`python -m api` as a process on a real socket: big bodies, hints sent, a graceful end."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
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


def _wait_for(what: Callable[[], bool], *, seconds: float = 60.0) -> None:
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
    port, log = _free_port(), tmp_path / "api.log"
    environment = ENVIRONMENT | {
        "LONGTAKE_DATABASE_URL": database_url,
        "LONGTAKE_BROKER_URL": valkey_url,
        "LONGTAKE_DATA_DIR": str(tmp_path),
        "LONGTAKE_API_PORT": str(port),
    }
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
