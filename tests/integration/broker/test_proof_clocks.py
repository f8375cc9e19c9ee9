"""Hosts whose clocks differ, by way of messages; limits that are kept in a Valkey that is away."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from redis import Redis

ROOT = Path(__file__).resolve().parents[3]
#: Seconds in which something must have happened, and in which a worker must have started.
BOUND, START = 10.0, 60.0

#: A sender whose clock is a minute behind sends what beat and the API send.
BEHIND = """
from datetime import timedelta
from celery import Celery
right = Celery.now
Celery.now = lambda self: right(self) - timedelta(minutes=1, seconds=10)
from models.verbs import What
from tasks import hints
from worker.beat import TickScheduler
from worker.celery import app
"""
TICK = f"""{BEHIND}
scheduler = TickScheduler(app, lazy=False)
scheduler.apply_async(scheduler.schedule["tick-all"], advance=False)
"""
HINT = f"""{BEHIND}
hints.send(What.EXPIRE, "-")
"""
#: As many hints as there are lanes, each of its own.
HINTS = """
import time
from models.verbs import What
from tasks import hints
began = time.monotonic()
for number in range(6):
    hints.send(What.DELIVER, f"host-{number}")
print(time.monotonic() - began)
"""

#: A job whose deadline is over, and what says so.
LATE = """
INSERT INTO job (id, tenant, request_id, state, model, prompt, request, plan, scene,
                 progress_source, typical_seconds, estimated_cost_micros, unknown_policy,
                 deadline_at)
VALUES ('job_vid_late', 'default', 'req', 'pending', 'gen4.5', 'a fox', '{}', '{}', '',
        'estimated', 1, 0, 'at_most_once', now() - interval '1 minute');
INSERT INTO due (what, id, lane, tenant, at)
VALUES ('expire', 'job_vid_late', '-', 'default', now() - interval '1 minute')
"""


def came_true(what: Callable[[], bool], within: float = BOUND) -> bool:
    until = time.monotonic() + within
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def environment(database_url: str, valkey_url: str, tmp_path: Path) -> Mapping[str, str]:
    foreign = ("LONGTAKE_", "CELERY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "LONGTAKE_DATABASE_URL": database_url,
        "LONGTAKE_BROKER_URL": valkey_url,
        "LONGTAKE_DATA_DIR": str(tmp_path),
        "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
    }


def run(code: str, environment: Mapping[str, str]) -> str:
    return subprocess.run(
        (sys.executable, "-c", code),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@contextmanager
def worker(
    environment: Mapping[str, str], log: Path, *, queues: str = "control", threads: int = 4
) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            (
                *(sys.executable, "-P", "-m", "celery", "-A", "worker", "worker"),
                *("-Q", queues, "--pool", "threads", "-c", str(threads)),
                *("--without-gossip", "--without-mingle"),
            ),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        assert came_true(lambda: "worker.ready" in log.read_text(), START), log.read_text()
        yield
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("code", [TICK, HINT], ids=["tick", "hint"])
def test_what_a_host_sends_whose_clock_is_behind_is_done(
    environment: Mapping[str, str], database_url: str, tmp_path: Path, code: str
) -> None:
    # Given a job whose deadline is over
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(LATE.encode())

        # When a sender whose clock is behind its worker's says that something is due
        run(code, environment)

        # Then it is done
        def state() -> str:
            return str(connection.execute("SELECT state FROM job").fetchall()[0][0])

        with worker(environment, tmp_path / "worker.log"):
            assert came_true(lambda: state() == "failed"), "the message was of no use"


def test_hints_are_sent_although_the_valkey_of_their_keys_is_away(
    environment: Mapping[str, str], valkey_url: str
) -> None:
    nobody = "redis://127.0.0.1:9/0"

    run(HINTS, {**environment, "LONGTAKE_VALKEY_URL": nobody})

    with Redis.from_url(valkey_url) as valkey:
        assert valkey.llen("deliver") == 6


def test_a_valkey_that_hangs_delays_hints_once_and_briefly(
    environment: Mapping[str, str], valkey_url: str
) -> None:
    # Given a server that takes connections and never answers
    with socket.create_server(("127.0.0.1", 0)) as server:
        mute = f"redis://127.0.0.1:{server.getsockname()[1]}/0"

        took = float(run(HINTS, {**environment, "LONGTAKE_VALKEY_URL": mute}).split()[-1])

    with Redis.from_url(valkey_url) as valkey:
        assert valkey.llen("deliver") == 6
    assert took < 5
