"""What must be true when everything has ended, from the rows, the bill and the receiver's log."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from models.invariants import violations
from models.request import VideoRequest
from settings import load
from tasks.engine import Engine
from tasks.intake import accept
from tests.conftest import Simulator
from tests.faults.conftest import Receiver, Stack

UNFINISHED = "SELECT id FROM job WHERE finished_at IS NULL"
ALL_ENDED = f"SELECT 1 WHERE NOT EXISTS ({UNFINISHED})"
ALL_TOLD = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM due)"


def submit(stack: Stack, requests: Sequence[Mapping[str, object]]) -> list[str]:
    """Accept the requests as the API does, and give their jobs' ids."""

    async def work() -> list[str]:
        engine = Engine.build(load(stack.env))
        try:
            return [
                (await accept(engine, VideoRequest.from_json(dict(body)), tenant="default")).job_id
                for body in requests
            ]
        finally:
            await engine.close()

    return asyncio.run(work())


def check_rows(stack: Stack) -> None:
    """The rows contradict neither each other nor themselves."""

    async def work() -> list[object]:
        engine = Engine.build(load(stack.env))
        try:
            return [*await engine.database.run(violations)]
        finally:
            await engine.close()

    assert asyncio.run(work()) == []


def check_bill(stack: Stack, simulator: Simulator) -> None:
    """Each attempt was paid once at most, each video that we have exactly once."""
    billed = Counter(row["operation_id"] for row in simulator.bill())
    prompts = Counter(dict(row["body"])["promptText"] for row in simulator.bill())  # type: ignore[call-overload]
    assert set(billed.values()) <= {1}
    assert [prompt for prompt, times in prompts.items() if times > 1] == []
    jobs = stack.rows("SELECT prompt, state, error ->> 'code' AS code FROM job")
    for job in jobs:
        if job["state"] == "complete":
            assert prompts[job["prompt"]] == 1
    known = stack.rows("SELECT operation_id FROM attempt WHERE operation_id IS NOT NULL")
    assert {row["operation_id"] for row in known} <= set(billed)


def check_told(stack: Stack, receiver: Receiver) -> None:
    """Each job's end was told as one event, with the same words each time."""
    jobs = [row["id"] for row in stack.rows("SELECT id FROM job WHERE webhook IS NOT NULL")]
    assert sorted(receiver.jobs()) == sorted(jobs)
    for bodies in receiver.events.values():
        assert len(set(bodies)) == 1
