"""A worker dies without a word: no job is lost, none is paid for twice, and each end is told."""

import pytest

from tests.faults.harness.runs import prove, states, submit
from tests.faults.harness.stack import FaultStack

#: Celery's pool, its slots, and jobs of each length.
POOLS = {"threads": (24, 20), "prefork": (6, 6)}
#: Attempts whose answer never comes.
HUNG = 3

_IN_DOUBT = "SELECT id FROM attempt WHERE state IN ('sent', 'unknown') AND job = ANY(%s)"
#: Some POSTs are waited for, or were given up, and some operations are under way.
_IN_FULL_SWING = """
SELECT count(*) FILTER (WHERE state IN ('sent', 'unknown')) >= 1
    AND count(*) FILTER (WHERE state = 'accepted') >= 3
FROM attempt WHERE job = ANY(%s)
"""


@pytest.mark.parametrize("pool", POOLS)
def test_kill_9_of_the_only_worker_in_the_middle_of_its_work(house: FaultStack, pool: str) -> None:
    slots, count = POOLS[pool]
    # Given a worker among whose jobs some wait for an answer to their POST, and some are running
    house.worker.kill()
    house.simulator.faults([{"provider": "runway", "on": "submit", "do": "hang", "times": HUNG}])
    jobs = [*submit(house, count), *submit(house, count, script="[sim:slow]")]
    with house.another_worker(pool=pool, slots=slots) as victim:
        assert house.until(_IN_FULL_SWING, jobs, within=60)

        # When it is killed, and another starts
        victim.kill()
    in_doubt = {row["id"] for row in house.rows(_IN_DOUBT, jobs)}
    house.start()

    # Then every job ends, and what nobody knows was not asked for again
    prove(house, jobs)
    assert in_doubt
    attempts = house.rows("SELECT id, state FROM attempt WHERE job = ANY(%s)", jobs)
    assert len(attempts) == len(jobs)
    assert {each["state"] for each in attempts if each["id"] in in_doubt} == {"unknown"}
    assert states(house, jobs) == {
        "complete": len(jobs) - len(in_doubt),
        "failed": len(in_doubt),
    }


def test_a_worker_that_is_asked_to_stop_leaves_nothing_in_doubt(house: FaultStack) -> None:
    """SIGTERM in the middle of its work: what was begun is finished, the rest is handed back."""
    jobs = submit(house, 40)
    assert house.until("SELECT count(*) > 0 FROM attempt WHERE state = 'accepted'", within=20)
    assert house.worker.stop(within=30), house.worker.said[-2000:]
    assert house.rows(_IN_DOUBT, jobs) == []
    assert house.rows("SELECT id FROM due WHERE lease IS NOT NULL") == []

    house.start()
    prove(house, jobs)
    assert states(house, jobs) == {"complete": 40}
