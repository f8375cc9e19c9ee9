"""A vendor that denies or refuses for minutes: what succeeded there is complete here, paid once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.faults.harness.runs import states, submit
from tests.faults.harness.stack import Crew, FaultStack, fault_stack
from tests.faults.harness.stubborn import VERSION, Vendor, server_of

JOBS = 12
#: Seconds in which all must be well after the vendor is: the longest wait between two tries.
TO_RECOVER = 420.0


@contextmanager
def facing(vendor: Vendor) -> Iterator[FaultStack]:
    """A whole stack whose Runway is this vendor."""
    with server_of(vendor) as server:
        thread = threading.Thread(target=server.serve_forever, name="vendor", daemon=True)
        thread.start()
        variables = {
            "RUNWAYML_BASE_URL": f"http://127.0.0.1:{server.server_port}",
            "RUNWAYML_API_SECRET": "key_of_the_stubborn_vendor",
        }
        try:
            with fault_stack(Crew(variables=variables)) as stack:
                yield stack
        finally:
            server.shutdown()
            thread.join(10)


def prove(vendor: Vendor, stack: FaultStack, *, stumbles: str, seconds: float) -> None:
    """All jobs of a run are complete although the vendor stumbled, and none was paid for twice."""
    jobs = submit(stack, JOBS)
    are_final = stack.until_final(jobs, within=seconds + TO_RECOVER)
    ends = stack.rows("SELECT state, error ->> 'code' AS code, count(*) FROM job GROUP BY 1, 2")
    assert vendor.answered[stumbles] >= JOBS, "the vendor never stumbled"
    assert are_final, ends
    assert states(stack, jobs) == {"complete": JOBS}, ends
    assert sorted(vendor.paid) == sorted(set(vendor.paid))
    assert len(vendor.paid) == JOBS
    assert stack.until_nothing_is_due(within=30)
    assert stack.contradictions() == []
    assert {receipt.type for job in jobs for receipt in stack.receiver.of(job)} == {
        "video.completed"
    }


@pytest.mark.chaos
def test_a_vendor_that_answers_404_to_every_poll_for_a_minute_costs_a_minute() -> None:
    vendor = Vendor(denies=60.0)
    with facing(vendor) as stack:
        prove(vendor, stack, stumbles="poll denied", seconds=60.0)


@pytest.mark.chaos
def test_a_vendor_whose_downloads_answer_503_for_four_minutes_costs_four_minutes() -> None:
    vendor = Vendor(refuses=240.0)
    with facing(vendor) as stack:
        prove(vendor, stack, stumbles="download denied", seconds=240.0)


def test_the_vendor_speaks_runways_wire() -> None:
    """What the two above lean on: it is denied at first, then runs, then gives a film."""
    vendor = Vendor(runs=1e-6)
    headers = {"Authorization": "Bearer key_x", "X-Runway-Version": VERSION}
    with server_of(vendor) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        with httpx.Client(base_url=base, headers=headers, trust_env=False, timeout=60) as http:
            body = {"promptText": "a cat"}
            task = http.post("/v1/text_to_video", json=body).raise_for_status().json()["id"]
            told = http.get(f"/v1/tasks/{task}").json()
            vendor.denies = 60.0
            denied = http.get(f"/v1/tasks/{task}")
            downloaded = http.get(told["output"][0])
        assert httpx.post(f"{base}/v1/text_to_video", json=body).status_code == 401
        server.shutdown()
        thread.join(10)
    assert told["status"] == "SUCCEEDED"
    assert denied.status_code == 404
    assert b"ftyp" in downloaded.content[:16]
    assert vendor.paid == ["a cat"]
