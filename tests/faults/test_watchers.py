"""Watchers live as long as their processes; what one watched that died is another's soon after."""

from threading import Event

import pytest

from tests.faults.harness.processes import Process
from tests.faults.harness.runs import prove, states, submit
from tests.faults.harness.stack import FaultStack

#: Operations that are watched while it happens, and a pool's slots.
JOBS = 5
SLOTS = {"threads": 24, "prefork": 6}
#: They run until they are cancelled.
ENDLESS = "[sim:never]"
#: Seconds in which operations come to be watched, or others notice what happened.
TO_NOTICE = 60.0
#: Seconds of a freeze: a holder counts as dead after 2.4.
FROZEN = 5.0

_ARE_WATCHED = """
SELECT count(*) = %s FROM due JOIN attempt ON attempt.id = due.id
JOIN holder ON holder.id = due.lease
WHERE due.what = 'poll' AND attempt.job = ANY(%s) AND holder.dead_at IS NULL
  AND holder.id <> ALL(%s::uuid[])
"""
_HOLDERS = "SELECT id::text FROM holder WHERE watched > 0"
#: Of a lease of three seconds: longer than any task keeps its slot for a claim.
_LEASES_LATER = "SELECT now() > %s + interval '15 seconds'"
_HAVE_BEATEN = "SELECT bool_and(beat > now() - interval '2 seconds') AND count(*) > 0 FROM holder"


def watched(house: FaultStack, jobs: list[str], *, but_by: list[str] | None = None) -> bool:
    """Whether all of these jobs' operations come to be watched, `but_by` certain holders."""
    return house.until(_ARE_WATCHED, len(jobs), jobs, but_by or [], within=TO_NOTICE)


def holders(house: FaultStack) -> list[str]:
    return [row["id"] for row in house.rows(_HOLDERS)]


def cancel(house: FaultStack, jobs: list[str]) -> None:
    with house.client() as client:
        for job in jobs:
            client.cancel(job)


def prove_cancelled(house: FaultStack, jobs: list[str]) -> None:
    cancel(house, jobs)
    prove(house, jobs)
    assert states(house, jobs) == {"cancelled": len(jobs)}


@pytest.mark.parametrize("pool", SLOTS)
def test_operations_of_a_worker_that_is_killed_are_watched_by_another(
    house: FaultStack, pool: str
) -> None:
    # Given a worker that watches operations for several leases, by the same holders
    house.worker.kill()
    with house.another_worker(pool=pool, slots=SLOTS[pool]) as victim:
        jobs = submit(house, JOBS, script=ENDLESS)
        assert watched(house, jobs)
        (began,) = house.rows("SELECT now() AS at")
        before = holders(house)
        assert house.until(_LEASES_LATER, began["at"], within=TO_NOTICE)
        assert set(before) <= set(holders(house))
        assert watched(house, jobs)

        # When it dies, and another starts
        victim.kill()
    dead = holders(house)
    house.start()

    # Then that one watches them
    assert watched(house, jobs, but_by=dead)
    prove_cancelled(house, jobs)


@pytest.mark.chaos
@pytest.mark.parametrize("whose", ["database", "every worker", "one worker"])
def test_a_freeze_past_the_heartbeat_loses_nothing(house: FaultStack, whose: str) -> None:
    # Given two workers, of which at least one watches operations
    with house.another_worker() as second:
        jobs = submit(house, JOBS, script=ENDLESS)
        assert watched(house, jobs)
        before = holders(house)

        # When what shows that they live is frozen for longer than they may be silent
        freeze(house, second, whose)

        # Then who could hear nobody declares nobody dead, and all are watched
        assert house.until(_HAVE_BEATEN, within=TO_NOTICE)
        if whose != "one worker":
            assert set(before) <= set(holders(house))
        assert watched(house, jobs)
    prove_cancelled(house, jobs)


def freeze(house: FaultStack, second: Process, whose: str) -> None:
    (began,) = house.rows("SELECT now() AS at")
    frozen = {"every worker": [house.worker, second], "one worker": [house.worker]}.get(whose, [])
    try:
        for worker in frozen:
            worker.freeze()
        if whose == "database":
            house.freeze_database()
            Event().wait(FROZEN)
        else:
            later = "SELECT now() > %s + %s * interval '1 second'"
            assert house.until(later, began["at"], FROZEN, within=TO_NOTICE)
    finally:
        house.thaw_database()
        for worker in frozen:
            worker.thaw()


def test_without_residents_polls_go_through_the_pump(house: FaultStack) -> None:
    house.worker.kill()
    house.worker.start(LONGTAKE_RESIDENT_POLLS="false")
    house.worker.ready()
    jobs = submit(house, JOBS)
    prove(house, jobs)
    assert states(house, jobs) == {"complete": JOBS}
    assert '"what":"poll"' in house.worker.said.replace(" ", "")
    house.worker.kill()
