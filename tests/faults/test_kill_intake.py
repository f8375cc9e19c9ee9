"""A worker dies while it takes a message in: what was asked for is there once, or not yet."""

from pathlib import Path

import pytest
from redis import Redis

from longtake.celery import enqueue, enqueue_batch
from tests.integration.broker.test_proof_intake import REQUEST, House, came_true


@pytest.fixture
def intake(database_url: str, valkey_url: str, tmp_path: Path) -> House:
    return House(database_url, valkey_url, tmp_path)


def test_kill_9_between_the_commit_and_the_acknowledgement(intake: House) -> None:
    # Given a worker that dies as soon as it has committed
    intake.environment["LONGTAKE_CRASH_AT"] = "enqueue.committed"
    with intake.worker() as worker:
        enqueue(intake.valkey_url, REQUEST, job_id="order-1")
        enqueue(intake.valkey_url, REQUEST, job_id="order-2", tenant="nobody")
        assert came_true(lambda: worker.poll() is not None)
    assert not intake.is_done()

    # When the broker delivers again what nobody acknowledged
    del intake.environment["LONGTAKE_CRASH_AT"]
    deliver_again(intake)

    # Then another worker finds what was committed, and adds nothing to it
    with intake.worker():
        assert came_true(intake.is_done)
    assert [row["id"] for row in intake.rows("SELECT id FROM job")] == ["order-1"]
    assert [letter["job"] for letter in intake.dead_letters()] == ["order-2"]


@pytest.mark.parametrize("point", ["batch.inserted", "enqueue.committed"])
def test_kill_9_in_the_middle_of_a_batch(intake: House, point: str) -> None:
    """All of its lines are there, or none."""
    lines = [REQUEST | {"custom_id": f"line-{number}"} for number in range(200)]
    intake.environment["LONGTAKE_CRASH_AT"] = point
    with intake.worker() as worker:
        enqueue_batch(intake.valkey_url, lines, batch_id="catalogue-7")
        assert came_true(lambda: worker.poll() is not None)
    made = {"batch.inserted": 0, "enqueue.committed": 200}[point]
    assert intake.jobs() == made
    assert not intake.is_done()

    del intake.environment["LONGTAKE_CRASH_AT"]
    deliver_again(intake)
    enqueue_batch(intake.valkey_url, lines, batch_id="catalogue-7")  # its sender saw no answer

    with intake.worker():
        assert came_true(intake.is_done)
    (batch,) = intake.rows("SELECT id, lines, pending FROM batch")
    assert batch == {"id": "catalogue-7", "lines": 200, "pending": 200}
    assert intake.jobs() == 200
    assert intake.dead_letters() == []


def deliver_again(intake: House) -> None:
    """Ten minutes pass for the messages that nobody acknowledged."""
    with Redis.from_url(intake.valkey_url) as valkey:
        for tag in valkey.zrange("unacked_index", 0, -1):
            valkey.zincrby("unacked_index", -600, tag)
