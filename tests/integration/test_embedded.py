"""The embedded servers keep what they were given, whoever is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
from kombu import Connection
from redis import Redis
from redis.exceptions import AuthenticationError

from stack.servers import account
from stack.servers.postgres import EmbeddedPostgres
from stack.servers.server import EmbeddedServerError, Running, living, mark_of, wait_until
from stack.servers.valkey import EmbeddedValkey

Server = EmbeddedPostgres | EmbeddedValkey
SERVERS = pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])


def write(url: str, value: str) -> None:
    if url.startswith("redis:"):
        with Redis.from_url(url) as client:
            client.set("kept", value)
            client.execute_command("WAITAOF", 1, 0, 5000)  # the log is written every second
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept (value text)")
        connection.execute("insert into kept values (%s)", [value])


def read(url: str) -> str:
    if url.startswith("redis:"):
        with Redis.from_url(url, decode_responses=True) as client:
            return str(client.get("kept"))
    with psycopg.connect(url) as connection:
        row = connection.execute("select value from kept").fetchone()
    assert row is not None
    return str(row[0])


@SERVERS
def test_what_was_written_survives_kill_9_of_the_server(
    kind: Callable[[Path], Server], data_dir: Path
) -> None:
    # Given a server with something in it
    server = kind(data_dir)
    first = server.start()
    write(first.url, "before the kill")

    # When it is killed, and started again at once, without waiting for what it leaves behind
    os.kill(first.pid, signal.SIGKILL)
    second = server.start()

    # Then it is another process with the same data
    assert not second.adopted
    assert second.pid != first.pid
    assert read(second.url) == "before the kill"


@SERVERS
def test_what_was_written_survives_a_stop(kind: Callable[[Path], Server], data_dir: Path) -> None:
    server = kind(data_dir)
    write(server.start().url, "before the stop")

    server.stop()
    assert not server.health()

    assert read(server.start().url) == "before the stop"


@SERVERS
def test_a_second_start_adopts_the_running_server(
    kind: Callable[[Path], Server], data_dir: Path
) -> None:
    first = kind(data_dir).start()

    second = kind(data_dir).start()

    assert second == Running(first.url, first.pid, adopted=True)


@SERVERS
def test_two_processes_that_start_at_once_share_one_server(
    kind: Callable[[Path], Server], data_dir: Path
) -> None:
    # Given two processes, started before either has a server
    code = (
        "import json, sys; from pathlib import Path\n"
        f"from {kind.__module__} import {kind.__name__} as Server\n"
        "running = Server(Path(sys.argv[1])).start()\n"
        "print(json.dumps([running.pid, running.adopted]))"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(data_dir)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]

    # When both are done and gone
    answers = [json.loads(starter.communicate(timeout=60)[0]) for starter in starters]

    # Then one started the server, the other adopted it, and it outlives them
    assert len({pid for pid, _ in answers}) == 1
    assert sorted(adopted for _, adopted in answers) == [False, True]
    assert kind(data_dir).health()


@SERVERS
def test_two_data_folders_have_two_servers(kind: Callable[[Path], Server], data_dir: Path) -> None:
    left, right = kind(data_dir / "left"), kind(data_dir / "right")
    try:
        write(left.start().url, "left")
        write(right.start().url, "right")

        left.stop()

        assert read(right.url()) == "right"
    finally:
        left.stop()
        right.stop()


@SERVERS
def test_a_pid_file_that_names_a_stranger_does_not_stop_a_start(
    kind: Callable[[Path], Server], data_dir: Path
) -> None:
    # Given a killed server whose number now belongs to a living process of another kind
    server = kind(data_dir)
    first = server.start()
    write(first.url, "before the kill")
    os.kill(first.pid, signal.SIGKILL)
    pid_file = next(data_dir.glob("*/*.pid"))
    pid_file.write_text(pid_file.read_text().replace(str(first.pid), str(os.getpid()), 1))

    # When it is started again
    second = server.start()

    # Then the stranger is neither believed nor harmed
    assert second.pid not in {first.pid, os.getpid()}
    assert read(second.url) == "before the kill"


@SERVERS
def test_a_server_whose_folder_was_moved_is_not_joined_by_a_second(
    kind: Callable[[Path], Server], data_dir: Path
) -> None:
    # Given a running server whose data folder gets another name
    before, after = data_dir / "before", data_dir / "after"
    server = kind(before)
    running = server.start()
    before.rename(after)

    # Then a start under the new name refuses to serve the same files twice, and names the culprit
    try:
        with pytest.raises(EmbeddedServerError, match=f"process {running.pid}"):
            kind(after).start()
    finally:
        after.rename(before)
        server.stop()


@SERVERS
def test_stopping_what_does_not_run_does_no_harm(
    kind: Callable[[Path], Server], data_dir: Path
) -> None:
    kind(data_dir).stop()

    assert list(data_dir.iterdir()) == []


def test_processes_that_outlive_the_postmaster_do_not_stop_a_start(data_dir: Path) -> None:
    # Given a killed postmaster, and a backend too busy to notice
    server = EmbeddedPostgres(data_dir)
    first = server.start()
    with psycopg.connect(first.url) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        os.kill(first.pid, signal.SIGKILL)

        # When the server is started again
        second = server.start()

    # Then nothing of the first is left
    assert second.pid != first.pid
    mark = mark_of((data_dir / "postgres").resolve())
    assert backend not in {process.pid for process in living("postgres", mark)}


def test_a_data_folder_with_a_long_and_odd_name_has_a_postgres(data_dir: Path) -> None:
    odd = data_dir / ("it's a $HOME, " + "long" * 30)
    server = EmbeddedPostgres(odd)
    try:
        url = server.start().url
        write(url, "there")
        assert read(url) == "there"
    finally:
        server.stop()
    assert not list(Path("/tmp").glob(f"{mark_of(odd / 'postgres')}*"))  # noqa: S108


def test_a_setup_that_was_killed_half_way_begins_again(data_dir: Path) -> None:
    # Given what a killed first start leaves
    half = data_dir / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    # Then the next one does not take it for a finished cluster
    assert not EmbeddedPostgres(data_dir).start().adopted
    assert not half.exists()


def test_a_private_folder_stays_private(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a data folder inside one that only its owner may enter
    monkeypatch.setattr(account, "SHARED_HOME", data_dir / "shared")
    private = data_dir / "private"
    private.mkdir(mode=0o700)
    server = EmbeddedPostgres(private / "data")

    # When a server runs on it and starts a second time
    try:
        write(server.start().url, "hidden")
        server.stop()
        again = server.start()

        # Then its data is kept and nobody else may enter
        assert read(again.url) == "hidden"
        assert private.stat().st_mode & 0o077 == 0
        assert (private / "data" / "postgres").resolve().stat().st_mode & 0o077 == 0
    finally:
        server.stop()


def test_postgres_is_tuned_for_a_table_that_changes_all_the_time(
    postgres_server: EmbeddedPostgres,
) -> None:
    wanted = {
        "listen_addresses": "",
        "autovacuum_naptime": "5s",
        "synchronous_commit": "on",
        "shared_buffers": "128MB",
        "max_connections": "200",
        "TimeZone": "UTC",
    }
    with psycopg.connect(postgres_server.url()) as connection:
        for name, value in wanted.items():
            row = connection.execute("select current_setting(%s)", [name]).fetchone()
            assert row == (value,), name


def test_celerys_transport_speaks_to_the_valkey(valkey_url: str) -> None:
    with Connection(valkey_url) as connection, connection.SimpleQueue("hints") as queue:
        queue.put({"id": "job_1"})
        message = queue.get(timeout=5)
        message.ack()
    assert message.payload == {"id": "job_1"}


def test_the_valkey_lets_nobody_in_without_its_password(valkey_url: str) -> None:
    stranger = "redis://" + valkey_url.partition("@")[2]
    with Redis.from_url(stranger) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_a_valkey_whose_port_was_taken_moves_to_another(data_dir: Path) -> None:
    # Given a stopped Valkey, and another program on its port
    server = EmbeddedValkey(data_dir)
    before = server.start()
    write(before.url, "moved")
    server.stop()
    intruder = EmbeddedValkey(data_dir / "intruder")
    try:
        intruder_url = intruder.start().url
        configuration = data_dir / "valkey" / "valkey.conf"
        taken = intruder_url.rpartition(":")[2].partition("/")[0]
        old = before.url.rpartition(":")[2].partition("/")[0]
        configuration.write_text(configuration.read_text().replace(old, taken))

        # When it is started
        after = server.start()

        # Then it listens elsewhere, with its data
        assert f":{taken}/" not in after.url
        assert read(after.url) == "moved"
    finally:
        intruder.stop()


def test_a_wait_gives_up_at_its_bound() -> None:
    assert wait_until(lambda: True, 0)
    assert not wait_until(lambda: False, 0)


@SERVERS
def test_a_server_whose_files_were_removed_is_replaced(
    kind: Callable[[Path], Server], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a running server whose folder somebody removed, and which so never names itself
    monkeypatch.setattr("stack.servers.postgres.NAMING_BOUND", 0.5)
    server = kind(data_dir)
    first = server.start()
    for folder in (data_dir / "postgres", data_dir / "valkey"):
        shutil.rmtree(folder, ignore_errors=True)

    # When it is started
    second = server.start()

    # Then a new one serves, and the old one is gone
    assert not second.adopted
    assert server.health()
    assert not psutil.pid_exists(first.pid) or psutil.Process(first.pid).status() == "zombie"
