"""A worker dies without a word: no job is lost, none is paid for twice, and each end is told."""

import pytest

from tests.conftest import Simulator
from tests.faults.conftest import Receiver, Stack
from tests.faults.promises import (
    ALL_ENDED,
    ALL_TOLD,
    check_bill,
    check_rows,
    check_told,
    submit,
)

pytestmark = pytest.mark.faults


#: Celery's pool, its slots, and jobs.
POOLS = {"threads": (24, 40), "prefork": (6, 12)}


@pytest.mark.parametrize("pool", POOLS)
def test_kill_9_of_the_only_worker_in_the_middle_of_its_work(
    stack: Stack, simulator: Simulator, receiver: Receiver, pool: str
) -> None:
    slots, count = POOLS[pool]
    # Given a worker among whose jobs some wait for an answer to their POST, and some are running
    simulator.faults(
        [{"provider": "runway", "on": "submit", "do": "hang", "times": 3, "match_prompt": "hang"}]
    )
    words = ["hang"] * 3 + ["[sim:slow] long", "short"] * (count // 2)
    jobs = submit(
        stack,
        [
            {"prompt": f"{word} {number}", "model": "gen4.5", "webhook_url": receiver.url}
            for number, word in enumerate(words[:count])
        ],
    )
    stack.beat()
    victim = stack.worker(pool=pool, slots=slots)
    stack.until(
        """
        SELECT 1 FROM attempt HAVING count(*) FILTER (WHERE state = 'sent') >= 3
                                 AND count(*) FILTER (WHERE state = 'accepted') >= 3
        """,
        within=20,
    )

    # When it is killed, and another starts
    stack.kill(victim)
    in_doubt = {row["id"] for row in stack.rows("SELECT id FROM attempt WHERE state = 'sent'")}
    stack.worker(pool=pool, slots=slots)
    stack.until(ALL_ENDED, within=45)
    stack.until(ALL_TOLD, within=15)

    # Then every job has ended, and what nobody knows was not asked for again
    assert len(in_doubt) >= 3
    rows = stack.rows("SELECT id, job, state, error FROM attempt")
    assert len(rows) == len(jobs)
    assert {row["state"] for row in rows if row["id"] in in_doubt} == {"unknown"}
    ends = stack.rows(
        "SELECT state, error ->> 'code' AS code, count(*)::int FROM job GROUP BY 1, 2"
    )
    assert {(end["state"], end["code"]): end["count"] for end in ends} == {
        ("complete", None): count - len(in_doubt),
        ("failed", "submit_unknown"): len(in_doubt),
    }
    check_bill(stack, simulator)
    check_told(stack, receiver)
    check_rows(stack)


def test_a_worker_that_is_asked_to_stop_leaves_nothing_in_doubt(
    stack: Stack, simulator: Simulator, receiver: Receiver
) -> None:
    """SIGTERM in the middle of its work: what was begun is finished, the rest is handed back."""
    submit(
        stack,
        [
            {"prompt": f"{number} of forty", "model": "gen4.5", "webhook_url": receiver.url}
            for number in range(40)
        ],
    )
    stack.beat()
    first = stack.worker()
    stack.until("SELECT 1 FROM attempt WHERE state = 'accepted'", within=20)
    first.terminate()
    assert first.wait(timeout=30) == 0
    assert stack.rows("SELECT id FROM attempt WHERE state = 'sent'") == []
    assert stack.rows("SELECT id FROM due WHERE lease IS NOT NULL") == []

    stack.worker()
    stack.until(ALL_TOLD, within=30)
    assert stack.rows("SELECT DISTINCT state FROM job") == [{"state": "complete"}]
    check_bill(stack, simulator)
    check_told(stack, receiver)
    check_rows(stack)
