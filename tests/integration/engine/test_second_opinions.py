"""What ends an attempt must be true of it now: not of what was claimed, read or denied before."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from models import high_water
from models.database import Connection
from models.failure import Failure, Fault
from models.verbs import What
from tasks.callbacks import hear
from tasks.engine import Engine
from tasks.outcomes.denied import is_lost
from tasks.outcomes.polled import Seen
from tasks.outcomes.refused import record_refused, record_unsendable
from tasks.pump.running import verb_for
from tasks.upkeep.reconcile import look_up_again
from tasks.verbs.poll import _DENIED
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing
from tests.integration.engine.test_proof_evidence import (
    MINIMAX,
    Vendor,
    attempts,
    commit_answer_lost,
    engine,
    run,
    submitted,
    vendor,
)

__all__ = ["engine", "vendor"]  # fixtures

pytestmark = pytest.mark.anyio

NO_PICTURE = Failure(fault=Fault.REFUSED, code="picture_unavailable", message="no picture")
LEASE = "00000000-0000-0000-0000-000000000001"


async def states(engine: Engine) -> list[str]:
    return [row["state"] for row in await attempts(engine)]


async def test_a_commit_that_a_restarted_server_lost_the_answer_of_is_taken_back(
    engine: Engine, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a COMMIT of `sent` whose answer is lost because the server restarts
    await submitted(engine)
    reads: list[dict[str, Any]] = []

    async def read_identity(connection: Connection) -> dict[str, Any]:
        identity = await high_water.read_identity(connection)
        reads.append(identity)
        later = timedelta(minutes=len(reads) - 1)
        return {**identity, "started": identity["started"] + later}

    monkeypatch.setattr("tasks.verbs.submit.read_identity", read_identity)

    # When it is repeated
    async with commit_answer_lost(engine):
        await run(engine, What.SUBMIT)

    # Then nothing was sent, and nothing says so
    assert vendor.posts == 0
    assert await states(engine) == ["planned"]


async def test_who_lost_the_row_can_not_call_an_attempt_unsendable(
    engine: Engine, vendor: Vendor
) -> None:
    await submitted(engine)
    (attempt,) = await attempts(engine)
    await run(engine, What.SUBMIT)
    assert await states(engine) == ["accepted"]

    await record_unsendable(engine, attempt["id"], NO_PICTURE, lease=LEASE)

    assert await states(engine) == ["accepted"]


async def test_a_refusal_of_what_was_set_back_leaves_its_due_row(engine: Engine) -> None:
    await submitted(engine)
    (attempt,) = await attempts(engine)

    await record_refused(engine, attempt["id"], NO_PICTURE)

    rows = await engine.database.fetch("SELECT what, id FROM due WHERE what = 'submit'")
    assert [row["id"] for row in rows] == [attempt["id"]]
    assert await states(engine) == ["planned"]


@pytest.mark.parametrize("how", ["callback", "operator"])
async def test_a_wait_for_a_callback_is_not_cut_short(
    make_engine: MakeEngine, vendor: Vendor, how: str
) -> None:
    # Given a lost answer of a provider that can only call back
    waiting = facing(make_engine(**MINIMAX), FarSide(vendor.reply))
    vendor.words = ["lost"]
    await submitted(waiting, model="hailuo-2.3")
    await waiting.database.fetch("UPDATE job SET unknown_policy = 'at_least_once'")
    await run(waiting, What.SUBMIT)
    (attempt,) = await attempts(waiting)
    assert attempt["state"] == "unknown"

    # When a callback tells nothing, or the operator asks again
    if how == "callback":
        body = b'{"status": "processing"}'
        await hear(waiting, attempt["provider"], attempt["marker"], headers={}, body=body)
    else:
        await waiting.database.run(lambda on: look_up_again(on, [attempt["id"]]))

    # Then nothing becomes due, so nothing is paid again
    rows = await waiting.database.fetch("SELECT id FROM due WHERE what = 'look_up' AND at <= now()")
    assert rows == []
    assert len(await attempts(waiting)) == 1
    await waiting.close()


async def test_a_lost_operation_locks_its_job_before_its_row(engine: Engine) -> None:
    await submitted(engine)
    await run(engine, What.SUBMIT)
    (attempt,) = await attempts(engine)
    verb = verb_for(What.POLL, engine)
    rows = await engine.database.fetch("SELECT id FROM due WHERE what = 'poll'")
    (item,) = await verb.load(cast("Any", [SimpleNamespace(**row) for row in rows]))
    seen = Seen(item=item, wait=600, fault=_DENIED, faults=9)
    assert verb.jobs([seen]) == []
    for name in ("is_lost", "is_stray", "is_abandoned"):
        ends = Seen(**{**{field: getattr(seen, field) for field in Seen.__slots__}, name: True})
        assert verb.jobs([ends]) == [attempt["job"]], name


def test_an_answer_from_before_the_outage_is_no_answer_for_others() -> None:
    facts: dict[str, Any] = {"looks": 12, "denied_for": 7000, "typical": 60, "cost_micros": 100_000}

    assert not is_lost(**facts, answered_ago=6998)
    assert is_lost(**facts, answered_ago=30)
