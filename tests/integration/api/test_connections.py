"""Clients that never send, never finish or never stop, beside one that only asks something."""

import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.integration.api.conftest import ENVIRONMENT
from tests.integration.api.processes import KEY, ROOT, Server, make_key, serving, wait_for

PATH = "/v1/video/generations"
GOOD = {"Authorization": f"Bearer {KEY}"}
#: Connections of one hostile client, and the files of the process that they meet.
MANY, FILES = 1200, 256
#: Seconds until something that has to happen counts as not happening.
BOUND = 60.0


@pytest.fixture(autouse=True)
def _enough_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def at_work(
    database_url: str, valkey_url: str, folder: Path, **settings: str
) -> Iterator[tuple[Server, httpx.Client]]:
    make_key(database_url)
    with (
        serving(database_url, valkey_url, folder, files=FILES, **settings) as server,
        httpx.Client(
            base_url=server.url,
            headers=GOOD | {"Connection": "close"},  # each request has to find a place
            trust_env=False,
            timeout=BOUND,
        ) as client,
    ):
        yield server, client


def connected(server: Server, stack: ExitStack, *, begins: bytes = b"") -> socket.socket:
    """A connection that has sent this much."""
    made = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=BOUND))
    with suppress(ConnectionError):  # it may be dropped at once
        made.sendall(begins)
    return made


def post(*, key: str = KEY, length: int = 1000) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def rest(connection: socket.socket, *, sends: bytes = b"") -> bytes:
    """All that is received until the connection ends, while `sends` is sent over and over."""
    received, ends = b"", time.monotonic() + BOUND
    while time.monotonic() < ends:
        readable, _, _ = select.select([connection], [], [], 0.1)
        try:
            if readable:
                piece = connection.recv(65536)
                if not piece:
                    return received
                received += piece
            connection.sendall(sends)
        except ConnectionError:
            return received
    msg = "the connection is still open"
    raise AssertionError(msg)


HOSTILE = {
    "silent": b"",
    "a head that never ends": b"GET /healthz HTTP/1.1\r\nHost: api",
    "a body of nobody that never ends": post(key="wrong") + b"{",
    "a body that never ends": post() + b"{",
    "a callback's body that never ends": post().replace(PATH.encode(), b"/callbacks/fal/x"),
    "a finished request that is kept alive": b"GET /healthz HTTP/1.1\r\nHost: api.test\r\n\r\n",
}


@pytest.mark.parametrize("begins", [HOSTILE["silent"], HOSTILE["a head that never ends"]])
def test_1200_connections_without_a_request_do_not_stop_a_process_with_256_files(
    database_url: str, valkey_url: str, tmp_path: Path, begins: bytes
) -> None:
    with at_work(database_url, valkey_url, tmp_path) as (server, client), ExitStack() as stack:
        job = client.post(PATH, json={"prompt": "a fox"}).json()
        events = f"{PATH}/{job['id']}/events"
        stream = stack.enter_context(client.stream("GET", events))
        told = stream.iter_lines()
        assert next(told) == "event: job"

        for _ in range(MANY):
            connected(server, stack, begins=begins)

        for _ in range(20):
            assert client.get("/healthz").status_code == 200
        assert client.get(PATH).status_code == 200
        assert client.post(f"{PATH}/{job['id']}/cancel").status_code == 200
        # And what was in progress before them goes on
        assert "event: final" in list(told)
        assert server.files < FILES


def test_of_all_hostile_kinds_at_once_none_stops_a_process_or_stays(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    brief = {
        "LONGTAKE_HEADER_SECONDS": "1",
        "LONGTAKE_BODY_SECONDS": "1",
        "LONGTAKE_BODY_BYTES_PER_SECOND": "1000",
    }
    with at_work(database_url, valkey_url, tmp_path, **brief) as (server, client):
        with ExitStack() as stack:
            for _ in range(MANY // len(HOSTILE)):
                for begins in HOSTILE.values():
                    connected(server, stack, begins=begins)
            for _ in range(5):
                assert client.get("/healthz").status_code == 200
            # Bodies in progress end by themselves, and then there is a place for every request
            wait_for(lambda: client.get(PATH).status_code == 200, seconds=BOUND)

        # Each by itself ends too, as long as it goes on
        for name, status, sends in (
            ("silent", b"", b""),
            ("a head that never ends", b"HTTP/1.1 408 ", b"x"),
            ("a body of nobody that never ends", b"HTTP/1.1 401 ", b"x"),
            ("a body that never ends", b"HTTP/1.1 408 ", b"x"),
            ("a callback's body that never ends", b"HTTP/1.1 404 ", b"x"),
        ):
            with ExitStack() as stack:
                answer = rest(connected(server, stack, begins=HOSTILE[name]), sends=sends)
                assert answer[:13] == status, name
                assert answer.count(b"HTTP/1.1") == (1 if status else 0), name


def test_where_all_places_are_busy_others_are_told_and_health_and_metrics_are_answered(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    few = {"LONGTAKE_MAX_CONNECTIONS": "32", "LONGTAKE_BODY_SECONDS": "600"}
    with (
        at_work(database_url, valkey_url, tmp_path, **few) as (server, client),
        ExitStack() as stack,
    ):

        def one_more() -> httpx.Response:
            connected(server, stack, begins=post() + b"{")
            return client.get(PATH)

        answers = [one_more() for _ in range(20)]

        assert [each.status_code for each in answers[:10]] == [200] * 10
        assert answers[-1].status_code == 503
        assert answers[-1].json()["error"]["code"] == "overloaded"
        assert answers[-1].headers["Retry-After"] == "1"
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200, path


def test_requests_that_were_sent_together_are_answered_in_order(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    get = "GET {} HTTP/1.1\r\nHost: api.test\r\nConnection: {}\r\n\r\n"
    both = get.format("/healthz", "keep-alive") + get.format("/readyz", "close")
    with at_work(database_url, valkey_url, tmp_path) as (server, _), ExitStack() as stack:
        answers = rest(connected(server, stack, begins=both.encode()))

    assert answers.count(b"HTTP/1.1 200 ") == 2
    assert answers.index(b'"ok"') < answers.index(b'"ready"')


def test_a_taken_port_is_told_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = ENVIRONMENT | {
            "LONGTAKE_DATABASE_URL": "postgresql://127.0.0.1:9/none",
            "LONGTAKE_DATA_DIR": str(tmp_path),
            "LONGTAKE_API_PORT": str(taken.getsockname()[1]),
        }
        ended = subprocess.run(
            [sys.executable, "-m", "api"],
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BOUND,
        )

    assert ended.returncode == 3
    assert "Address already in use" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
