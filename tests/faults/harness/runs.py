"""A handful of jobs in a stack that something happens to, and what must hold when it is over."""

from collections.abc import Sequence

from tests.faults.harness.judge import judge
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.wishes import fresh_name, plain

#: Seconds in which everything must have come to its end.
TO_SETTLE = 240.0


def submit(
    stack: FaultStack, count: int, *, provider: str = "runway", script: str = ""
) -> list[str]:
    """The ids of jobs that were answered with 202."""
    with stack.client() as client:
        names = [fresh_name() for _ in range(count)]
        return [
            client.submit(plain(name, provider, stack.receiver, script=script), key=name)
            for name in names
        ]


def until_some_are(stack: FaultStack, jobs: Sequence[str], state: str, *, most: int = 1) -> None:
    """Returns when at least `most` of the jobs' attempts are in a state, or have been."""
    sql = "SELECT count(*) >= %s FROM event WHERE job = ANY(%s) AND kind = %s"
    assert stack.until(sql, most, list(jobs), state, within=30), f"no job was ever {state}"


def states(stack: FaultStack, jobs: Sequence[str]) -> dict[str, int]:
    """How many of the jobs are in each state."""
    rows = stack.rows(
        "SELECT state, count(*) AS n FROM job WHERE id = ANY(%s) GROUP BY 1", list(jobs)
    )
    return {row["state"]: row["n"] for row in rows}


def prove(stack: FaultStack, jobs: Sequence[str]) -> None:
    """All of these jobs came to their ends, and every promise to anybody was kept."""
    is_settled = stack.until_final(jobs, within=TO_SETTLE)
    assert is_settled, stack.rows("SELECT *, at - now() AS wait FROM due")
    is_done = stack.until_nothing_is_due(within=TO_SETTLE)
    assert is_done, stack.rows("SELECT *, at - now() AS wait FROM due")
    receipts = [each for each in stack.receiver.receipts if not each.type.startswith("batch.")]
    broken = judge(stack, jobs, receipts).broken
    assert not broken, "\n".join(broken)
