"""Operators' commands without a database: one line soon, not a minute of tries."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from models.revision import newest
from tests.unit.cli.scripted import Run

COMMANDS = (["doctor"], ["doctor", "--json"], ["keys", "list"], ["prune"], ["providers", "list"])


@contextmanager
def listening(*, answers: bool) -> Iterator[tuple[int, list[None]]]:
    """A port and who came: each is hung up on, or held without an answer."""
    came: list[None] = []
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            came.append(None)
            if answers:
                connection.close()
            else:
                held.append(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve)
        serving.start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
        serving.join(5)
    for each in held:
        each.close()


@pytest.fixture
def _at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)


def url(port: int) -> str:
    once = "sslmode=disable&gssencmode=disable"
    return f"postgresql://longtake:pw-of-the-database@127.0.0.1:{port}/longtake?{once}"


@pytest.mark.usefixtures("_at")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_server_that_hangs_up_is_asked_once_and_named_in_a_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    with listening(answers=True) as (port, came):
        monkeypatch.setenv("LONGTAKE_DATABASE_URL", url(port))
        ended = run(*command)

    assert ended.code == 3
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: no response from the database: PostgreSQL at 127.0.0.1:{port}:")
    assert "pw-of-the-database" not in ended.out + ended.err
    assert len(came) == 1


@pytest.mark.usefixtures("_at")
def test_a_server_that_stays_silent_is_waited_for_briefly(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.database._THERE_WITHIN", 0.3)
    with listening(answers=False) as (port, came):
        monkeypatch.setenv("LONGTAKE_DATABASE_URL", url(port))
        ended = run("doctor")

    assert ended.code == 3
    assert f"PostgreSQL at 127.0.0.1:{port} does not answer within" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert len(came) == 1


def test_a_storage_that_can_not_be_opened_is_told_in_a_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGTAKE_STORAGE_URL", "u:hidden@h")

    ended = run("doctor")

    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert line.startswith("error: the video store (LONGTAKE_STORAGE_URL) can't be opened")
    assert "hidden" not in line


def test_a_schema_that_is_newer_than_the_code_is_told_in_a_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    told = f"the database's schema (9999) is newer than this version of Longtake ({newest()})"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    migrated, examined = run("migrate"), run("doctor")

    assert migrated.code == 2
    (line,) = migrated.err.splitlines()
    assert line.startswith(f"error: {told}")
    assert examined.code == 0
    assert told in " ".join(examined.err.split())


def test_of_a_server_with_several_addresses_one_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGTAKE_SECRET_KEYS", "k" * 32)
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", "postgresql://127.0.0.1:9,127.0.0.2:9/longtake")

    ended = run("doctor")

    assert ended.code == 3
    (line,) = ended.err.splitlines()
    assert "refused" in line
