"""`python -m api` as a process of its own, with the key of a tenant."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_server

import httpx
import psycopg

from tests.integration.api.conftest import ENVIRONMENT

ROOT = Path(__file__).parents[3]
#: A key of the tenant acme, once `make_key` was called.
KEY = "lt_" + "a" * 32


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def files(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def wait_for(what: Callable[[], bool], *, seconds: float = 180.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not come to pass in time"
        time.sleep(0.02)


def make_key(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO tenant (id) VALUES ('acme')")
        connection.execute(
            "INSERT INTO api_key (id, tenant, hash, prefix, is_admin) "
            "VALUES ('key_1', 'acme', sha256(%s::bytea), 'lt_aaaaaa', false)",
            (KEY.encode(),),
        )


@contextmanager
def serving(
    database_url: str, valkey_url: str, folder: Path, *, files: int | None = None, **settings: str
) -> Iterator[Server]:
    """It serves until the block ends; `files` is how many it may open."""
    port, log = _free_port(), folder / "api.log"
    environment = ENVIRONMENT | {
        "LONGTAKE_DATABASE_URL": database_url,
        "LONGTAKE_BROKER_URL": valkey_url,
        "LONGTAKE_DATA_DIR": str(folder),
        "LONGTAKE_API_PORT": str(port),
        **settings,
    }
    command = [sys.executable, "-m", "api"]
    if files is not None:
        command = ["/bin/sh", "-c", 'ulimit -n "$0" && exec "$@"', str(files), *command]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        started = Server(process, port, log)
        try:
            wait_for(lambda: _is_ready(started))
            yield started
        finally:
            process.kill()


def _free_port() -> int:
    with closing(create_server(("127.0.0.1", 0))) as taken:
        port: int = taken.getsockname()[1]
        return port


def _is_ready(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return httpx.get(f"{server.url}/readyz", trust_env=False, timeout=60).is_success
    except httpx.TransportError:
        return False
