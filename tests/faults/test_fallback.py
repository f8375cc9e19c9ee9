"""A gate under faults: its next model makes the video, and no video is paid for twice."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.faults.conftest import Print
from tests.faults.harness.client import Json
from tests.faults.harness.runs import prove
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.tables import table
from tests.faults.harness.upstreams import free_port
from tests.faults.harness.wishes import fresh_name, plain

pytestmark = pytest.mark.chaos

NEXT = "ray-3.2"
#: Gates by the provider of their first model; Luma's is the next of each.
FIRST = {"runway": "gen4.5", "kling_legacy": "kling_legacy/kling-3.0"}
#: A provider without and one with a look-up of lost answers.
BLIND, LOOKED_UP = FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What befalls the first model's provider, and what must come of it."""

    first: str = BLIND
    fault: Json = field(default_factory=dict)
    #: Whether nobody listens at its address.
    is_away: bool = False
    #: What is said in the prompt, which both providers read.
    script: str = ""
    status: str = "complete"
    error: str | None = None
    #: Paid POSTs that the first model's provider accepted, and the next one's.
    billed: tuple[int, int] = (0, 1)


LIMITED: Json = {"do": "status", "status": 429}
CASES = {
    "refuses the request": Case(fault={"do": "status", "status": 400}),
    "refuses the key": Case(fault={"do": "status", "status": 401}),
    "is out of credits": Case(fault={"do": "status", "status": 402}),
    "answers 429 with an hour": Case(fault=LIMITED | {"retry_after": 3600}),
    "answers 429 for long": Case(fault=LIMITED | {"retry_after": 1, "times": 50}),
    "answers 503 for long": Case(fault={"do": "status", "status": 503, "times": 50}),
    "is unreachable": Case(is_away=True),
    "fails late": Case(fault={"do": "fail"}, billed=(1, 1)),
    "refuses the content late": Case(
        script="[sim:moderate]", status="failed", error="content_policy", billed=(1, 0)
    ),
    "drops the answer after accepting": Case(
        fault={"do": "drop_after_accept"}, status="failed", error="submit_unknown", billed=(1, 0)
    ),
    "drops it, and can be asked": Case(
        first=LOOKED_UP, fault={"do": "drop_after_accept"}, billed=(1, 0)
    ),
    "stumbles and recovers": Case(fault=LIMITED | {"retry_after": 1}, billed=(1, 0)),
}


@pytest.fixture(scope="module")
def outcomes(print_at_the_end: Print) -> Iterator[list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = []
    yield rows
    head = ("the first provider", "job", "error", "made by", "paid first", "paid next", "verdict")
    print_at_the_end("fallback under faults", table(head, rows))


@pytest.fixture(scope="module")
def gated(shared_house: FaultStack) -> FaultStack:
    """The house, whose tenant has a gate for each first provider."""
    with shared_house.client() as client:
        for provider, model in FIRST.items():
            gate = {"name": provider, "strategy": "fallback", "fallback_models": [NEXT]}
            client.create_gate(gate | {"model": model})
    return shared_house


@pytest.mark.parametrize("words", CASES)
def test_a_gate_moves_on_only_where_nothing_is_spent_or_the_failure_is_certain(
    gated: FaultStack, house: FaultStack, outcomes: list[tuple[object, ...]], words: str
) -> None:
    case, name = CASES[words], fresh_name()
    if case.fault:
        fault = {"provider": case.first, "on": "submit", "match_prompt": name}
        house.simulator.faults([fault | case.fault])
    if case.is_away:
        house.worker.kill()
        house.worker.start(RUNWAYML_BASE_URL=f"http://127.0.0.1:{free_port()}")
        house.worker.ready()

    body = plain(name, case.first, house.receiver, script=case.script)
    del body["model"]
    with house.client() as client:
        job = client.submit(body | {"gate": case.first}, key=name)
        prove(house, [job])
        ended = client.get(job)
    if case.is_away:
        house.worker.kill()

    bill = [row["provider"] for row in house.simulator.bill() if name in str(row["body"])]
    billed = (bill.count(case.first), bill.count("luma_agents"))
    error = (ended.get("error") or {}).get("code")
    is_right = (ended["status"], error, billed) == (case.status, case.error, case.billed)
    made_by = ended["perf"]["model_used"] if ended["status"] == "complete" else ""
    verdict = "green" if is_right else "RED"
    outcomes.append((words, ended["status"], error or "", made_by, *billed, verdict))
    assert (ended["status"], error) == (case.status, case.error)
    assert billed == case.billed
    assert bool(ended.get("hops")) == bool(case.billed[1])
