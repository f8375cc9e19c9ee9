"""A request that is sent over the broker becomes one job or one dead letter, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from celery import Celery
from psycopg.rows import dict_row
from redis import Redis

ROOT = Path(__file__).resolve().parents[3]
#: Seconds in which something must have happened, and in which a worker must have started.
BOUND, START = 20.0, 60.0
#: Must be seen nowhere but in the row that it is sealed in.
CANARY = "c4nary-of-the-intake"
REQUEST = {"prompt": f"a quiet sea, {CANARY}", "model": "gen4.5"}


def came_true(what: Callable[[], bool], within: float = BOUND) -> bool:
    until = time.monotonic() + within
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


class House:
    """A worker's database and broker, and what they hold."""

    def __init__(self, database_url: str, valkey_url: str, folder: Path) -> None:
        self.database_url, self.valkey_url = database_url, valkey_url
        self.log = folder / "worker.log"
        foreign = ("LONGTAKE_", "CELERY_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
            "LONGTAKE_DATABASE_URL": database_url,
            "LONGTAKE_BROKER_URL": valkey_url,
            "LONGTAKE_DATA_DIR": str(folder),
            "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
            "RUNWAYML_API_SECRET": "key_for_tests_of_the_intake",
            "RUNWAYML_BASE_URL": "http://127.0.0.1:9",
        }

    @contextmanager
    def worker(
        self, queues: str = "intake", *, pool: str = "threads", **variables: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that takes from the queue of requests, and from no other unless asked to."""
        began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                (
                    *(sys.executable, "-P", "-m", "celery", "-A", "worker", "worker"),
                    *("-Q", queues, "--pool", pool, "-c", "4", "-E"),
                    *("--without-gossip", "--without-mingle"),
                ),
                cwd=ROOT,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            assert came_true(lambda: b"worker.ready" in self.log.read_bytes()[began:], START)
            yield process
        finally:
            process.kill()
            process.wait(10)

    def send(self, *args: Any, task_id: str | None = None, **kwargs: Any) -> str:
        id_ = task_id or str(uuid4())
        with Celery("sender", broker=self.valkey_url, set_as_current=False) as sender:
            sender.send_task("video.enqueue", args, kwargs, queue="intake", task_id=id_)
        return id_

    def is_done(self) -> bool:
        """Whether every message was acknowledged."""
        with Redis.from_url(self.valkey_url) as valkey:
            return not valkey.llen("intake") and not valkey.hlen("unacked")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with psycopg.connect(
            self.database_url, row_factory=dict_row, autocommit=True
        ) as connection:
            return connection.execute(sql.encode()).fetchall()

    def jobs(self) -> int:
        return int(self.rows("SELECT count(*) FROM job")[0]["count"])

    def dead_letters(self) -> list[dict[str, Any]]:
        if not self.rows("SELECT 1 FROM pg_class WHERE relname = 'intake_failure'"):
            return []
        return self.rows("SELECT * FROM intake_failure")

    @contextmanager
    def no_job_can_be_made(self) -> Iterator[Callable[[], int]]:
        """Whoever makes a job waits; call what is given to break off those who do: how many."""
        with psycopg.connect(self.database_url) as holder:
            holder.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
            yield lambda: len(
                self.rows(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'longtake'
                      AND wait_event_type = 'Lock'
                    """
                )
            )

    def somebody_makes_a_job(self) -> bool:
        sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        return bool(
            self.rows(f"{sql} AND application_name = 'longtake' AND wait_event_type = 'Lock'")
        )


@pytest.fixture
def house(database_url: str, valkey_url: str, tmp_path: Path) -> House:
    return House(database_url, valkey_url, tmp_path)


def test_a_request_outlives_a_database_that_goes_away_again_and_again(house: House) -> None:
    with house.worker():
        # Given a database that breaks off every try of two deliveries
        broken = 0
        with house.no_job_can_be_made() as break_off:
            house.send(request=REQUEST)
            until = time.monotonic() + BOUND
            while broken < 8 and time.monotonic() < until:
                broken += break_off()
                time.sleep(0.02)

        # Then the job is made once it no longer does
        assert came_true(lambda: house.jobs() == 1), f"lost after {broken} tries"
        assert came_true(house.is_done)
    assert house.jobs() == 1


def test_a_message_that_comes_twice_makes_one_job_though_it_names_none(house: House) -> None:
    with house.worker():
        id_ = house.send(request=REQUEST)
        house.send(request=REQUEST, task_id=id_)
        assert came_true(lambda: house.is_done() and house.jobs() > 0)

    assert house.jobs() == 1
    (job,) = house.rows("SELECT id FROM job")
    assert job["id"] == "job_vid_" + id_.replace("-", "")  # which its sender can tell


def test_a_worker_that_is_killed_while_it_accepts_costs_minutes_and_not_an_hour(
    house: House,
) -> None:
    # Given a worker that is killed before it has committed
    with house.worker() as worker, house.no_job_can_be_made():
        house.send(request=REQUEST)
        assert came_true(house.somebody_makes_a_job)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)
    assert not house.is_done()

    # When ten minutes have passed
    with Redis.from_url(house.valkey_url) as valkey:
        for tag in valkey.zrange("unacked_index", 0, -1):
            valkey.zincrby("unacked_index", -600, tag)

    # Then another worker makes the job
    with house.worker():
        assert came_true(lambda: house.jobs() == 1), "it was not delivered again"
        assert came_true(house.is_done)


BAD: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a wrong field": (
        {"request": REQUEST | {"priority": CANARY}},
        "invalid_request",
        "priority",
    ),
    "a prompt that is too long": (
        {"request": REQUEST | {"prompt": CANARY * 2000}},
        "invalid_request",
        "prompt",
    ),
    "no request at all": ({"tenant": "default"}, "invalid_request", "request"),
    "a request that is text": ({"request": CANARY}, "invalid_request", None),
    "a tenant nobody knows": (
        {"request": REQUEST, "tenant": "nobody"},
        "invalid_request",
        "tenant",
    ),
    "a job id that is a number": ({"request": REQUEST, "job_id": 5}, "invalid_request", "job_id"),
    "an argument nobody knows": ({"request": REQUEST, "prio": CANARY}, "invalid_request", "prio"),
}


def test_requests_that_cannot_be_accepted_are_kept_with_their_reasons(house: House) -> None:
    with house.worker() as worker:
        sent = {house.send(**arguments): rest for arguments, *rest in BAD.values()}
        assert came_true(house.is_done)
        assert came_true(lambda: len(house.dead_letters()) == len(BAD), 5), "nothing tells of them"
        assert worker.poll() is None

    letters = house.dead_letters()
    assert {each["task_id"]: [each["code"], each["param"]] for each in letters} == sent
    assert CANARY not in json.dumps(letters, default=str)
    assert house.jobs() == 0
    assert "Traceback" not in house.log.read_text()
    assert CANARY not in house.log.read_text()


RAW: dict[str, tuple[str, str]] = {
    "not JSON": (f"{CANARY} is no JSON", "application/json"),
    "of another shape": (json.dumps([CANARY]), "application/json"),
    "a pickle": (CANARY, "application/x-python-serialize"),
}


def raw_message(id_: str, body: str, content_type: str) -> str:
    message = {
        "body": b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": content_type,
        "headers": {"task": "video.enqueue", "id": id_, "lang": "py", "argsrepr": CANARY},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "intake", "routing_key": "intake"},
            "delivery_tag": str(uuid4()),
        },
    }
    return json.dumps(message)


def test_messages_that_cannot_be_read_are_kept_and_harm_no_worker(house: House) -> None:
    with house.worker() as worker:
        ids = {str(uuid4()) for _ in RAW}
        with Redis.from_url(house.valkey_url) as valkey:
            for id_, (body, content_type) in zip(ids, RAW.values(), strict=True):
                valkey.lpush("intake", raw_message(id_, body, content_type))
        assert came_true(lambda: len(house.dead_letters()) == len(RAW), 8), "nothing tells of them"
        assert came_true(house.is_done)

        # And the worker goes on
        house.send(request=REQUEST)
        assert came_true(lambda: house.jobs() == 1)
        assert worker.poll() is None

    letters = house.dead_letters()
    assert {each["task_id"] for each in letters} == ids
    assert {each["code"] for each in letters} == {"unreadable_message"}
    assert "Traceback" not in house.log.read_text()
    assert CANARY not in house.log.read_text()
