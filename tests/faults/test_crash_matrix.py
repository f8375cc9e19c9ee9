"""A worker dies between any two steps: the job ends as it should, and is paid for once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from signal import SIGKILL

import pytest

from stack.servers.server import wait_until
from tasks.crash import POINTS
from tests.faults.conftest import Print
from tests.faults.harness.client import Client, Json
from tests.faults.harness.receiver import secret_of
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.tables import table
from tests.faults.harness.wishes import fresh_name, plain

#: Seconds in which a worker must come to its point, and in which all must be well again after it:
#: an absence takes about 50 to prove.
TO_DIE, TO_RECOVER = 40.0, 120.0

#: One point of each verb of a healthy job's life: what `make test` runs.
QUICK = ("submit.posted", "poll.answered", "store.put", "deliver.posted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job that comes to a point, and how it must end although a worker dies there."""

    provider: str = "runway"
    #: Said before the prompt: what the simulator is to do.
    script: str = ""
    #: A fault of the provider's on the job's way.
    fault: Json | None = None
    #: Whether its picture is behind a link.
    is_linked: bool = False
    is_cancelled: bool = False
    #: Whether it is the second line of a batch that runs one at a time, and whose end is told.
    is_line: bool = False
    #: Once its webhook is delivered.
    is_deleted: bool = False
    deadline: int | None = None
    status: str = "complete"
    error: str | None = None
    #: Paid POSTs that the provider accepted.
    billed: int = 1
    #: Attempts that the job ends with.
    attempts: int = 1


#: Its operations are found by the marker, and it calls nobody back, which would be quicker.
_LEGACY = "kling_legacy"
_LOST = {"on": "submit", "do": "drop_after_accept", "provider": _LEGACY}
_FOUND = Case(provider=_LEGACY, fault=_LOST)
_STOPPED = Case(script="[sim:slow]", is_cancelled=True, status="cancelled", error="cancelled")
_DELETED = Case(is_deleted=True, status="erased")
_LINE = Case(is_line=True)
#: Its provider takes no links.
_LINKED = Case(provider="gemini_veo", is_linked=True)
_LATE = Case(script="[sim:never]", deadline=3, status="failed", error="deadline_exceeded")

CASES = {
    "prepare.claimed": _LINKED,
    "prepare.kept": _LINKED,
    "prepare.written": _LINKED,
    "submit.claimed": Case(),
    # Runway has no look-up, so nobody can tell that nothing was sent: the job says so.
    "submit.sent_committed": Case(status="failed", error="submit_unknown", billed=0),
    "submit.posted": Case(status="failed", error="submit_unknown"),
    "submit.answer_committed": Case(),
    "poll.claimed": Case(),
    "poll.answered": Case(),
    "poll.written": Case(),
    "store.claimed": Case(),
    "store.downloaded": Case(),
    "store.put": Case(),
    "store.written": Case(),
    "deliver.claimed": Case(),
    "deliver.posted": Case(),
    "deliver.written": Case(),
    "cancel.claimed": _STOPPED,
    "cancel.posted": _STOPPED,
    "cancel.written": _STOPPED,
    "look_up.claimed": _FOUND,
    "look_up.found": _FOUND,
    "expire.claimed": _LATE,
    "expire.written": _LATE,
    "erase.claimed": _DELETED,
    "erase.removed": _DELETED,
    "erase.written": _DELETED,
    "tally.claimed": _LINE,
    "tally.moved": _LINE,
    "tally.committed": _LINE,
}

#: The same points where the provider can be asked what became of the POST.
LOOKED_UP = {
    # Proven absent, so it is sent again: one POST was accepted, by the second attempt.
    "submit.sent_committed": Case(provider="kling", attempts=2),
    "submit.posted": Case(provider="kling"),
    # The dropped POST was never accepted, which takes two looks to prove.
    "look_up.written": Case(
        provider=_LEGACY, fault=_LOST | {"do": "drop_before_accept"}, attempts=2
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a job did end."""

    status: str
    error: str | None
    attempts: int
    billed: int
    #: Webhooks received, and how many different ids and bodies they had.
    posts: int
    ids: int
    bodies: int


@pytest.fixture(scope="module")
def outcomes(print_at_the_end: Print) -> Iterator[list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = []
    yield rows
    head = ("died at", "provider", "job", "error", "attempts", "billed", "webhooks", "verdict")
    print_at_the_end("crash matrix", table(head, sorted(rows, key=str)))


def _parameters() -> Iterator[object]:
    for cases, suffix in ((CASES, ""), (LOOKED_UP, " and looked up")):
        for point, case in cases.items():
            is_quick = point in QUICK and cases is CASES
            marks = () if is_quick else (pytest.mark.chaos,)
            yield pytest.param(point, case, id=f"{point}{suffix}", marks=marks)


def test_the_matrix_has_every_point() -> None:
    assert {*CASES, *LOOKED_UP} == set(POINTS)


@pytest.mark.parametrize(("point", "case"), list(_parameters()))
def test_a_worker_that_dies_there_costs_nothing_but_time(
    house: FaultStack, outcomes: list[tuple[object, ...]], point: str, case: Case
) -> None:
    # Given the only worker, which dies when it comes to the point
    house.worker.kill()
    house.worker.start(LONGTAKE_CRASH_AT=point)
    house.worker.ready()

    # When a job brings it there, and another is started in its place
    with house.client() as client:
        job, name = _submitted(house, client, case)
        died = wait_until(lambda: not house.worker.lives, TO_DIE)
        assert died, f"{point} was never reached:\n{house.worker.said[-2000:]}"
        assert house.worker.returncode == -SIGKILL
        house.worker.start()

        # Then the job ends as it should, told once, and paid for as often as it is said
        is_settled = house.until_final([job], within=TO_RECOVER) and house.until_nothing_is_due(
            within=TO_RECOVER
        )
        ended = _ended(house, client, case, job=job, name=name)
    is_right = is_settled and (
        (ended.status, ended.error, ended.attempts, ended.billed)
        == (case.status, case.error, case.attempts, case.billed)
        and (ended.ids, ended.bodies) == (1, 1)
        and house.contradictions() == []
    )
    outcomes.append(
        (
            *(point, case.provider, ended.status, ended.error or "", ended.attempts),
            *(ended.billed, ended.posts, "green" if is_right else "RED"),
        )
    )
    assert is_settled, house.rows("SELECT * FROM due")
    assert house.contradictions() == []
    assert (ended.ids, ended.bodies) == (1, 1)
    assert (ended.status, ended.error) == (case.status, case.error)
    assert (ended.attempts, ended.billed) == (case.attempts, case.billed)
    if case.is_line:
        assert _told_of_batch(house, job) == ("completed", 1)


def _submitted(house: FaultStack, client: Client, case: Case) -> tuple[str, str]:
    name = fresh_name()
    body = plain(name, case.provider, house.receiver, script=case.script)
    if case.is_linked:
        body["image"] = house.receiver.picture
    if case.fault:
        house.simulator.faults([case.fault])
    if case.deadline:
        body["deadline_seconds"] = case.deadline
    if case.is_line:
        return _submitted_as_line(house, client, body, name), name
    job = client.submit(body, key=name)
    if case.is_cancelled:
        assert house.until("SELECT state = 'processing' FROM job WHERE id = %s", job, within=20)
        client.cancel(job)
    if case.is_deleted:
        sql = "SELECT count(*) = 1 FROM delivery WHERE job = %s AND state = 'delivered'"
        assert house.until(sql, job, within=20)
        client.delete(job)
    return job, name


def _submitted_as_line(house: FaultStack, client: Client, body: Json, name: str) -> str:
    hook = {"webhook_url": house.receiver.url(f"all-{name}")}
    hook["webhook_secret"] = secret_of(f"all-{name}")
    first = plain(fresh_name(), "runway", house.receiver)
    lines = [{"batch": {"concurrency": 1, **hook}}, first, body]
    batch = client.submit_batch("\n".join(map(json.dumps, lines)), key=name)
    sql = "SELECT id FROM job WHERE batch_id = %s ORDER BY batch_line DESC LIMIT 1"
    job: str = house.rows(sql, batch)[0]["id"]
    return job


def _ended(house: FaultStack, client: Client, case: Case, *, job: str, name: str) -> Ended:
    told = _left(house, job) if case.is_deleted else client.get(job)
    receipts = house.receiver.of(job)
    assert all(receipt.is_signed for receipt in receipts)
    attempts = house.rows("SELECT count(*) AS n FROM attempt WHERE job = %s", job)
    return Ended(
        status=told["status"],
        error=(told.get("error") or {}).get("code"),
        attempts=attempts[0]["n"],
        billed=sum(name in str(row) for row in house.simulator.bill()),
        posts=len(receipts),
        ids=len({receipt.id for receipt in receipts}),
        bodies=len({receipt.sha256 for receipt in receipts}),
    )


def _told_of_batch(house: FaultStack, job: str) -> tuple[str, int]:
    """The state of the batch of a line, and how many different events told of its end."""
    sql = "SELECT batch.* FROM batch JOIN job ON job.batch_id = batch.id WHERE job.id = %s"
    (batch,) = house.rows(sql, job)
    return batch["state"], len({receipt.id for receipt in house.receiver.of(batch["id"])})


def _left(house: FaultStack, job: str) -> Json:
    """What is left of a deleted job, which the API shows to nobody."""
    sql = "SELECT erased_at IS NOT NULL AND prompt = '' AS done FROM job WHERE id = %s"
    (row,) = house.rows(sql, job)
    return {"status": "erased" if row["done"] else "deleted"}
