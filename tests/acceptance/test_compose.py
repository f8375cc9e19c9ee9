"""Every service of docker-compose.yml, as a process, comes up and passes its own health check."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from models.revision import current, newest
from stack.servers.postgres import EmbeddedPostgres
from stack.servers.valkey import _program
from tests.unit.compose_file import REQUIRED, ROOT, read

#: How long a service may take until it is healthy, and a stopped one to end, in seconds.
START, STOP = 180, 60
LONG_RUNNING = ("worker-submit", "worker-long", "worker", "beat", "api", "flower")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Service:
    """One service as a process: its command, environment and health check, as the file has them.

    Only what a container brings is exchanged: servers' addresses, ports, and the image's variables.
    """

    def __init__(self, name: str, *, database_url: str, valkey_url: str, folder: Path) -> None:
        service: dict[str, Any] = read(REQUIRED)["services"][name]
        self._ports = {"8000": free_port(), "5555": free_port()}
        self.command = [self._moved(each) for each in service["command"]]
        self.check = [self._moved(each) for each in service.get("healthcheck", {}).get("test", [])]
        given = {key: self._moved(str(value)) for key, value in service["environment"].items()}
        self.folder = folder
        places = {
            "LONGTAKE_DATABASE_URL": database_url,
            "LONGTAKE_BROKER_URL": valkey_url,
            "LONGTAKE_STORAGE_URL": (folder / "videos").as_uri(),
        }
        self.environment = {
            **{name: places.get(name, value) for name, value in given.items()},
            "LONGTAKE_DATA_DIR": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def _moved(self, text: str) -> str:
        for usual, other in self._ports.items():
            text = text.replace(usual, other)
        return text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - loopback only

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        program = shutil.which(self.command[0], path=self.environment["PATH"])
        assert program is not None
        command = [program, *self.command[1:]]
        with (
            (self.folder / "log").open("wb") as log,
            subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def is_healthy(self) -> bool:
        kind, *command = self.check
        if kind == "CMD-SHELL":
            command = ["sh", "-c", *command]
        program = shutil.which(command[0], path=self.environment["PATH"])
        assert program is not None
        try:
            answer = subprocess.run(
                [program, *command[1:]],
                check=False,
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                timeout=20,
            )
        except subprocess.TimeoutExpired:
            return False  # as Docker counts it: it asks again
        return answer.returncode == 0


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_service_starts_and_becomes_healthy(
    name: str, database_url: str, valkey_url: str, data_dir: Path
) -> None:
    # Given a migrated database and a broker
    service = Service(name, database_url=database_url, valkey_url=valkey_url, folder=data_dir)

    # When its command runs
    with service.running() as process:
        # Then it passes its own health check
        deadline = time.monotonic() + START
        while not service.is_healthy():
            log = (data_dir / "log").read_text()
            assert process.poll() is None, log
            assert time.monotonic() < deadline, log

        # And ends when it is asked to; Flower takes its time, which its grace period cuts short
        process.terminate()
        if name != "flower":
            process.wait(STOP)


def test_migrate_ends_well_on_an_empty_database_and_again(
    postgres_server: EmbeddedPostgres, valkey_url: str, data_dir: Path
) -> None:
    # Given an empty database
    name = f"empty_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    url = postgres_server.url(name)
    service = Service("migrate", database_url=url, valkey_url=valkey_url, folder=data_dir)

    # Then the service ends well, and does no harm when it is repeated
    for _ in range(2):
        with service.running() as process:
            assert process.wait(START) == 0, (data_dir / "log").read_text()
    assert current(url) == newest()


def test_valkey_takes_its_password_from_no_command_line(data_dir: Path) -> None:
    # Given the service's command, with the image's entry point and folder exchanged
    service = read(REQUIRED)["services"]["valkey"]
    programs = data_dir / "bin"
    programs.mkdir()
    (programs / "docker-entrypoint.sh").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "docker-entrypoint.sh").chmod(0o755)
    (programs / "valkey-server").symlink_to(_program())
    port = free_port()
    kind, flag, line = service["command"]
    line = line.replace("--dir /data", f"--dir {data_dir} --bind 127.0.0.1 --port {port}")
    password = service["environment"]["VALKEYCLI_AUTH"]

    # When it runs
    with subprocess.Popen(
        [f"/bin/{kind}", flag, line],
        env={**service["environment"], "PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            # Then the password is needed, and on no command line
            deadline = time.monotonic() + START
            while not answers(port, password):
                assert process.poll() is None
                assert time.monotonic() < deadline
            assert not answers(port, None)
            assert "valkey-server" in " ".join(psutil.Process(process.pid).cmdline())
            assert password not in " ".join(psutil.Process(process.pid).cmdline())
        finally:
            process.terminate()
            process.wait(STOP)


def answers(port: str, password: str | None) -> bool:
    with Redis(
        host="127.0.0.1", port=int(port), password=password, retry=Retry(NoBackoff(), 0)
    ) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False
