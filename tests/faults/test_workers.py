"""Workers that are frozen, replaced or asked to stop in the middle of their work."""

import pytest

from tests.faults.harness.runs import prove, states, submit, until_some_are
from tests.faults.harness.stack import FaultStack, Row

#: More than a worker sends at once, so that some are claimed and not sent yet.
JOBS = 60
#: Seconds in which a worker that is asked to stop must have stopped: a POST has two.
GRACE = 30.0


@pytest.mark.chaos
def test_a_worker_that_was_frozen_past_its_lease_sends_and_changes_nothing(
    house: FaultStack,
) -> None:
    # Given a worker that freezes with its hands full: some attempts sent, others only claimed
    jobs = submit(house, JOBS)
    until_some_are(house, jobs, "submitting")
    house.worker.freeze()

    # When another does its work, and it wakes up after that, alone
    with house.another_worker():
        assert house.until_final(jobs, within=60)
        before = told_and_charged(house, jobs)
    house.worker.thaw()
    last = submit(house, 1)
    assert house.until_final(last, within=30), "the frozen worker never woke up"

    # Then what it held is as it was, and nothing was paid for again
    assert told_and_charged(house, jobs) == before
    prove(house, [*jobs, *last])


@pytest.mark.chaos
def test_workers_are_replaced_one_after_the_other_without_anybody_noticing(
    house: FaultStack,
) -> None:
    # Given two workers under load
    with house.another_worker() as second:
        jobs = submit(house, JOBS)
        until_some_are(house, jobs, "processing")

        # When each is asked to stop, and started again, while the other goes on
        for worker in (house.worker, second):
            assert worker.stop(within=GRACE), worker.said[-2000:]
            worker.start()
            worker.ready()
            jobs += submit(house, JOBS // 4)

        # Then every job is made, each told once, and no answer was lost
        prove(house, jobs)
    assert states(house, jobs) == {"complete": len(jobs)}
    assert all(len(house.receiver.of(job)) == 1 for job in jobs)
    doubts = house.rows(
        "SELECT id FROM event WHERE kind = 'attempt.unknown' AND job = ANY(%s)", jobs
    )
    assert doubts == []


def told_and_charged(house: FaultStack, jobs: list[str]) -> tuple[list[Row], int]:
    """What callers see of these jobs, row by row, and how many POSTs were paid for at all."""
    rows = house.rows(
        """
        SELECT job.*, output.state AS video, output.sha256, output.stored_at, delivery.id AS event
        FROM job JOIN output ON output.job = job.id LEFT JOIN delivery ON delivery.job = job.id
        WHERE job.id = ANY(%s) ORDER BY job.id
        """,
        jobs,
    )
    names = {row["prompt"].rpartition(", ")[2] for row in rows}
    bill = [str(charge) for charge in house.simulator.bill()]
    return rows, sum(any(name in charge for name in names) for charge in bill)
