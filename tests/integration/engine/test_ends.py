"""How jobs end when some of their videos do and others don't, and what that costs whom."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from models.database import Connection
from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from providers.registry import PROVIDERS
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.verbs.cancel import TRIES
from tasks.view import progress_percent, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, Script, facing
from tests.integration.engine.lock_order import LockOrder

pytestmark = pytest.mark.anyio


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def far_side(script: Script) -> FarSide:
    return FarSide(script.reply)


@pytest.fixture
async def engine(make_engine: MakeEngine, far_side: FarSide) -> AsyncIterator[Engine]:
    engine, watcher = facing(make_engine(), far_side), make_engine()
    order = LockOrder(watcher.database)
    order.watch(engine.database)
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()
    await watcher.close()
    assert order.faults == []
    assert order.watched


async def submitted(engine: Engine, **fields: Any) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5", **fields})
    return (await accept(engine, request, tenant="default")).job_id


async def run(engine: Engine, *kinds: What, most: int = 500) -> None:
    """Do what is due of these kinds, `most` of each, as if its time had come."""
    if What.EXPIRE in kinds:
        await engine.database.fetch("UPDATE job SET deadline_at = now()")
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() + interval '1 h' WHERE what = %s", (what,)
        )
        await engine.database.fetch(
            """
            UPDATE due SET at = now() - interval '1 s', lease = NULL WHERE what = %s AND id IN
            (SELECT id FROM due WHERE what = %s ORDER BY id LIMIT %s)
            """,
            (what, what, most),
        )
        await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def job_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM job WHERE id = %s", (job,))
    return row


async def states(engine: Engine, table: str, job: str) -> list[str]:
    sql = {
        "output": "SELECT state FROM output WHERE job = %s ORDER BY position",
        "attempt": "SELECT state FROM attempt WHERE job = %s ORDER BY id",
    }[table]
    return [row["state"] for row in await engine.database.fetch(sql, (job,))]


async def test_a_job_of_two_videos_of_which_one_fails_is_complete_at_half_the_price(
    engine: Engine, script: Script
) -> None:
    job = await submitted(engine, count=2)
    await run(engine, What.SUBMIT)
    await run(engine, What.POLL, most=1)
    script.words["poll"] = "failed"
    await run(engine, What.POLL, What.STORE)

    ended = await job_of(engine, job)
    assert sorted(await states(engine, "output", job)) == ["failed", "stored"]
    assert ended["state"] == "complete"
    assert ended["cost_micros"] * 2 == ended["estimated_cost_micros"]


async def test_a_deadline_keeps_the_videos_that_are_there(engine: Engine, script: Script) -> None:
    """One of two is stored: that is what was asked for, in part, and not a failure."""
    job = await submitted(engine, count=2, webhook_url="http://127.0.0.1/hook")
    await run(engine, What.SUBMIT)
    await run(engine, What.POLL, most=1)
    await run(engine, What.STORE, What.EXPIRE)

    ended = await job_of(engine, job)
    assert (ended["state"], ended["error"]) == ("complete", None)
    assert ended["cost_micros"] * 2 == ended["estimated_cost_micros"]
    assert sorted(await states(engine, "output", job)) == ["failed", "stored"]
    # The other operation is stopped
    await run(engine, What.CANCEL)
    assert sorted(await states(engine, "attempt", job)) == ["cancelled", "succeeded"]
    (told,) = await engine.database.fetch("SELECT type FROM delivery")
    assert told["type"] == "video.completed"


async def test_a_deadline_without_any_video_costs_nothing(engine: Engine) -> None:
    job = await submitted(engine, count=2)
    await run(engine, What.SUBMIT, What.EXPIRE)

    ended = await job_of(engine, job)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "deadline_exceeded")
    assert ended["cost_micros"] == 0


async def test_what_a_cancelled_operation_costs_is_its_share_of_the_job(engine: Engine) -> None:
    job = await submitted(engine, count=2)
    await run(engine, What.SUBMIT)

    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)
    await run(engine, What.CANCEL)

    (spent,) = await engine.database.fetch("SELECT sum(cost_micros)::bigint AS micros FROM attempt")
    assert spent["micros"] == (await job_of(engine, job))["estimated_cost_micros"]
    assert (await job_of(engine, job))["cost_micros"] == 0


async def test_an_answer_that_comes_after_another_attempt_was_planned_is_kept_and_used_up(
    engine: Engine, script: Script, far_side: FarSide
) -> None:
    """Whoever chose at_least_once may pay twice, yet gets each video once."""
    job = await submitted(engine, unknown_policy="at_least_once")
    script.words["submit"] = "lost"
    await run(engine, What.SUBMIT)
    del script.words["submit"]
    await run(engine, What.SUBMIT, What.POLL, What.STORE)

    assert (await job_of(engine, job))["state"] == "complete"
    assert await states(engine, "attempt", job) == ["unknown", "succeeded"]
    assert await states(engine, "output", job) == ["stored"]
    assert far_side.posts() == 2


# -- operations that nobody wants any more --------------------------------------------------------


async def superseded(engine: Engine, script: Script, **fields: Any) -> tuple[str, str]:
    """A job whose first attempt comes to light when a second one runs already, and that attempt."""
    job = await submitted(engine, unknown_policy="at_least_once", **fields)
    script.words["submit"] = "lost"
    await run(engine, What.SUBMIT)
    del script.words["submit"]
    await run(engine, What.SUBMIT)
    (first,) = await engine.database.fetch("SELECT id FROM attempt WHERE state = 'unknown'")
    await record_accepted(engine, first["id"], Accepted(operation_id="op-late"))
    assert await states(engine, "attempt", job) == ["accepted", "accepted"]
    return job, first["id"]


async def test_an_attempt_that_another_has_replaced_is_cancelled_upstream(
    engine: Engine, script: Script, far_side: FarSide
) -> None:
    job, first = await superseded(engine, script)

    # It is stopped while the other goes on
    rows = await engine.database.fetch("SELECT what FROM due WHERE id = %s", (first,))
    assert rows == [{"what": "cancel"}]
    await run(engine, What.CANCEL)
    assert far_side.requests[-1].method == "DELETE"
    assert far_side.requests[-1].url.endswith("/tasks/op-late")
    assert await states(engine, "attempt", job) == ["cancelled", "accepted"]
    await run(engine, What.POLL, What.STORE)
    assert (await job_of(engine, job))["state"] == "complete"
    assert await states(engine, "attempt", job) == ["cancelled", "succeeded"]


async def test_a_replaced_attempt_that_can_not_be_cancelled_says_nothing_of_the_job(
    engine: Engine, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    runway = PROVIDERS["runway"]
    bound = replace(runway.capabilities, cancel=False)
    monkeypatch.setattr(type(runway), "capabilities", bound)
    job, first = await superseded(engine, script)
    # Given the second one waits, while the first is looked at and ends
    await run(engine, What.SUBMIT)
    await engine.database.fetch(
        "UPDATE due SET at = CASE WHEN id = %s THEN now() ELSE now() + interval '1 h' END "
        "WHERE what = 'poll'",
        (first,),
    )
    script.words["poll"] = "running"
    await Pump(verb_for(What.POLL, engine), engine.database, None, seconds=0.05).run()
    (shown,) = await engine.database.run(lambda connection: read_jobs(connection, [job]))
    assert progress_percent(shown) == 0
    del script.words["poll"]
    await engine.database.fetch("UPDATE due SET at = now() WHERE id = %s", (first,))
    await Pump(verb_for(What.POLL, engine), engine.database, None, seconds=0.05).run()
    # Then the job is no further than the second
    assert await states(engine, "attempt", job) == ["succeeded", "accepted"]
    assert (await job_of(engine, job))["state"] == "processing"
    assert await states(engine, "output", job) == ["expected"]
    await run(engine, What.POLL, What.STORE)
    assert (await job_of(engine, job))["state"] == "complete"


async def finished(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


@pytest.mark.parametrize("tries", [1, 5])
async def test_a_cancel_that_is_denied_for_a_while_is_tried_again(
    engine: Engine, script: Script, tries: int
) -> None:
    """An edge that answers 404 to everything is no proof that the operation has ended."""
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await finished(engine, job)
    script.words["cancel"] = "gone"
    await run(engine, *[What.CANCEL] * tries)
    assert await states(engine, "attempt", job) == ["accepted"]

    del script.words["cancel"]
    await run(engine, What.CANCEL)
    assert await states(engine, "attempt", job) == ["cancelled"]


async def test_a_cancel_that_is_denied_to_its_last_try_has_ended(
    engine: Engine, script: Script
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await finished(engine, job)
    script.words["cancel"] = "gone"
    await run(engine, *[What.CANCEL] * TRIES)
    assert await states(engine, "attempt", job) == ["cancelled"]
    assert await engine.database.fetch("SELECT * FROM due") == []


async def test_a_denial_after_other_faults_is_not_the_last_of_six(
    engine: Engine, script: Script
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await finished(engine, job)
    script.words["cancel"] = "broken"
    await run(engine, *[What.CANCEL] * (TRIES - 1))
    script.words["cancel"] = "gone"
    await run(engine, *[What.CANCEL] * (TRIES - 1))
    assert await states(engine, "attempt", job) == ["accepted"]

    await run(engine, What.CANCEL)
    assert await states(engine, "attempt", job) == ["cancelled"]


async def test_an_edge_that_denies_now_and_then_is_not_asked_for_ever(
    engine: Engine, script: Script
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await finished(engine, job)
    for word in (*["broken"] * (TRIES - 1), "gone", "broken"):
        script.words["cancel"] = word
        await run(engine, What.CANCEL)

    assert await states(engine, "attempt", job) == ["accepted"]
    due_rows = await engine.database.fetch("SELECT what FROM due")
    assert [row["what"] for row in due_rows] == ["poll"]
    (counts,) = await engine.database.fetch("SELECT cancel_faults, cancel_denials FROM attempt")
    assert set(counts.values()) == {0}


#: What a look may bring again and again of an operation that never ends.
ENDLESS = ["running", "broken", "strange", "lost", "gone", None]


@pytest.mark.parametrize("word", ENDLESS)
async def test_an_operation_that_nobody_wants_is_not_polled_for_ever(
    make_engine: MakeEngine, engine: Engine, script: Script, far_side: FarSide, word: str | None
) -> None:
    """None: no worker has credentials for its account any more, which leaves even cancels."""
    poller = engine if word else facing(make_engine(RUNWAYML_API_SECRET=""), far_side)
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await finished(engine, job)
    # Given an operation that can not be cancelled
    script.words["cancel"] = "broken"
    await run(engine, *[What.CANCEL] * (6 if word else 1))
    if word:
        script.words["poll"] = word
    await run(poller, *[What.CANCEL, What.POLL] * 2)
    assert await states(engine, "attempt", job) == ["accepted"]

    # When two days have gone by since it was accepted
    await engine.database.fetch("UPDATE attempt SET accepted_at = now() - interval '48 hours'")
    await run(poller, What.CANCEL, What.POLL)

    # Then nobody looks any more, and its cost is what was estimated
    (attempt,) = await engine.database.fetch("SELECT * FROM attempt")
    assert (attempt["state"], attempt["error"]["code"]) == ("failed", "operation_abandoned")
    ended = await job_of(engine, job)
    assert attempt["cost_micros"] == ended["estimated_cost_micros"]
    assert (ended["state"], ended["cost_micros"]) == ("cancelled", 0)
    assert await engine.database.fetch("SELECT * FROM due") == []
    (told,) = await engine.database.fetch(
        "SELECT detail FROM event WHERE kind = 'attempt.abandoned'"
    )
    assert told["detail"]["attempt"] == attempt["id"]


async def test_an_operation_that_is_wanted_is_polled_until_its_deadline(
    engine: Engine, script: Script
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await engine.database.fetch("UPDATE attempt SET accepted_at = now() - interval '20 days'")
    script.words["poll"] = "running"
    await run(engine, What.POLL)
    assert await states(engine, "attempt", job) == ["accepted"]


async def test_an_operation_is_not_lost_by_one_denial_after_an_outage(
    engine: Engine, script: Script
) -> None:
    """Only denials count towards losing it; troubles of another kind are none."""
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    script.words["poll"] = "broken"
    await run(engine, *[What.POLL] * 6)
    script.words["poll"] = "gone"
    await run(engine, What.POLL)
    assert await states(engine, "attempt", job) == ["accepted"]

    del script.words["poll"]
    await run(engine, What.POLL, What.STORE)
    assert (await job_of(engine, job))["state"] == "complete"


async def test_an_undocumented_status_is_told_once_and_polled_on(
    engine: Engine, script: Script
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    script.words["poll"] = "strange"
    await run(engine, *[What.POLL] * 3)
    told = await engine.database.fetch("SELECT * FROM event WHERE kind = 'status.undocumented'")
    assert len(told) == 1
    assert "REHEARSING" in told[0]["detail"]["said"]

    del script.words["poll"]
    await run(engine, What.POLL, What.STORE)
    assert (await job_of(engine, job))["state"] == "complete"


@pytest.mark.parametrize("kind", [What.POLL, What.STORE, What.CANCEL])
async def test_a_worker_without_the_account_leaves_the_work_to_others(
    make_engine: MakeEngine, engine: Engine, far_side: FarSide, kind: What
) -> None:
    """Credentials are renewed on one worker after the other: no video is lost meanwhile."""
    bare = facing(make_engine(RUNWAYML_API_SECRET=""), far_side)
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    if kind is What.STORE:
        await run(engine, What.POLL)
    if kind is What.CANCEL:

        async def work(connection: Connection) -> None:
            await finish(engine, connection, JobState.CANCELLED, [job])

        await engine.database.run(work)

    await run(bare, *[kind] * 12)
    (left,) = await engine.database.fetch("SELECT what, tries FROM due WHERE what <> 'expire'")
    assert left["what"] == kind
    assert left["tries"] <= 1
    await bare.close()


async def test_a_video_that_is_too_late_is_not_kept_for_a_job_that_was_cancelled(
    engine: Engine,
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT, What.POLL)

    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)
    await run(engine, What.STORE)

    assert await states(engine, "output", job) == ["failed"]
    assert (await job_of(engine, job))["cost_micros"] == 0
