"""The broker forgets, repeats or goes away, PostgreSQL dies: nothing is lost, nothing doubled."""

import random
import time

import pytest
from celery import Celery

from stack.servers.server import wait_until
from tasks.letters import job_id_of
from tests.faults.harness.brokers import repeat_hints
from tests.faults.harness.runs import prove, states, submit, until_some_are
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.wishes import fresh_name, plain

#: Jobs that are under way while it happens.
JOBS = 30
#: Seconds in which it is noticed that a server is away.
TO_NOTICE = 30.0
#: Seconds that PostgreSQL is away while requests come in: longer than any one try of ours.
AWAY = 70.0


@pytest.mark.chaos
def test_flushing_the_broker_in_the_middle_of_a_run_loses_nothing(house: FaultStack) -> None:
    # When every message is lost again and again while jobs are made
    jobs = submit(house, JOBS // 2)
    house.broker.flush()
    jobs += submit(house, JOBS // 2)
    for state in ("submitting", "processing", "storing"):
        until_some_are(house, jobs, state)
        house.broker.flush()

    # Then all of them are made
    prove(house, jobs)
    assert states(house, jobs) == {"complete": JOBS}


@pytest.mark.chaos
def test_messages_that_come_twice_and_in_any_order_do_no_harm(house: FaultStack) -> None:
    jobs = submit(house, JOBS)
    for number in range(3):
        repeat_hints(house.broker, house.providers, dice=random.Random(number))

    prove(house, jobs)
    assert states(house, jobs) == {"complete": JOBS}


@pytest.mark.chaos
def test_jobs_are_accepted_while_the_broker_is_away_and_made_when_it_is_back(
    house: FaultStack,
) -> None:
    # Given a broker that dies in the middle of a run
    before = submit(house, JOBS // 2)
    until_some_are(house, before, "processing")
    house.broker.die()

    # When more jobs are asked for
    try:
        while_away = submit(house, JOBS // 2)
        assert wait_until(lambda: "Cannot connect" in house.worker.said, TO_NOTICE)
    finally:
        house.broker.revive()

    # Then they are made as well
    prove(house, [*before, *while_away])
    assert states(house, while_away) == {"complete": JOBS // 2}


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
def test_a_database_that_is_away_costs_the_time_that_it_is_away(
    house: FaultStack, how: str
) -> None:
    # Given jobs in every state
    jobs = submit(house, JOBS)
    until_some_are(house, jobs, "storing")

    # When PostgreSQL goes away and comes back
    leave, come_back = {
        "stopped": (house.stop_database, house.start_database),
        "killed": (house.kill_database, house.start_database),
        "frozen": (house.freeze_database, house.thaw_database),
    }[how]
    leave()
    try:
        assert wait_until(lambda: not house.is_ready, TO_NOTICE)
    finally:
        come_back()

    # Then all jobs are made
    prove(house, jobs)
    assert states(house, jobs) == {"complete": JOBS}


@pytest.mark.chaos
def test_requests_over_the_broker_outlive_a_database_that_is_away_for_more_than_a_minute(
    house: FaultStack,
) -> None:
    # Given a database that is stopped
    house.stop_database()
    began = time.monotonic()

    # When requests are sent over the broker, and nobody can accept them for 70 seconds
    try:
        with Celery("sender", broker=house.broker.url, set_as_current=False) as sender:
            sent = [
                sender.send_task(
                    "video.enqueue",
                    kwargs={"request": plain(fresh_name(), "runway", house.receiver)},
                    queue="intake",
                ).id
                for _ in range(JOBS)
            ]
        assert wait_until(lambda: time.monotonic() - began > AWAY, 2 * AWAY)
        assert "intake.put_off" in house.worker.said
    finally:
        house.start_database()

    # Then each of them is one job, and is made
    jobs = [job_id_of(id_) for id_ in sent]
    assert house.until("SELECT count(*) = %s FROM job WHERE id = ANY(%s)", JOBS, jobs, within=60)
    prove(house, jobs)
    assert states(house, jobs) == {"complete": JOBS}
    assert house.rows("SELECT id FROM intake_failure") == []


@pytest.mark.chaos
def test_a_database_without_a_free_connection_makes_everybody_wait_and_nobody_fail(
    house: FaultStack,
) -> None:
    # Given somebody who has taken every connection that there is, and ours broken off
    jobs = submit(house, JOBS)
    until_some_are(house, jobs, "processing")
    with house.all_connections_taken():
        assert wait_until(lambda: not house.is_ready, TO_NOTICE)

    # Then all jobs are made once they are free again
    prove(house, jobs)
    assert states(house, jobs) == {"complete": JOBS}
