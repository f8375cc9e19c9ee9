"""Evidence of an operation is never dropped, and nothing is paid for that nobody is to have."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest

from models.database import Connection
from models.invariants import violations
from models.request import VideoRequest
from models.state import JobState
from models.verbs import What
from providers.base import Accepted
from tasks.callbacks import hear
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.accepted import record_accepted
from tasks.outcomes.finish import finish
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.reconcile import settle_absent, settle_accepted
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, kind_of, said
from transport.base import NotSent, Request, Response, Unanswered

pytestmark = pytest.mark.anyio

MINIMAX = {
    "MINIMAX_API_KEY": "minimax-for-tests-of-evidence",
    "MINIMAX_BASE_URL": "http://127.0.0.1:9",
    "LONGTAKE_PUBLIC_URL": "https://video.example",
}


@dataclass(slots=True)
class Vendor:
    """Answers to the POSTs in turn, by a word each; what was taken runs on."""

    words: list[str] = field(default_factory=list)
    posts: int = 0
    #: Operations that were asked to stop, and what the vendor says to that.
    stopped: list[str] = field(default_factory=list)
    cancels: str = "stopped"
    polls: str = "running"

    async def reply(self, request: Request) -> Response:
        kind = kind_of(request)
        if kind == "submit":
            self.posts += 1
            word = self.words.pop(0) if self.words else "taken"
            if word == "lost":
                raise Unanswered("no answer within 60 s")
            if word == "away":
                raise NotSent("refused")
            status = {"taken": 200, "limited": 429, "refused": 400}[word]
            fine = {"base_resp": {"status_code": 0, "status_msg": "success"}}
            return said(status, {"id": f"op-{self.posts}", "task_id": f"op-{self.posts}", **fine})
        name = request.url.rpartition("/")[2]
        if kind == "cancel":
            if self.cancels == "broken":
                return said(500, {})
            self.stopped.append(name)
            return Response(status=204, headers={}, content=b"")
        if self.polls == "broken":
            return said(500, {})
        task = {"id": name, "status": "RUNNING", "createdAt": "2026-01-01T00:00:00Z"}
        return said(200, {**task, "progress": 0.1})


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def engine(make_engine: MakeEngine, vendor: Vendor) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), FarSide(vendor.reply))
    yield engine
    await engine.close()


async def submitted(engine: Engine, **fields: Any) -> str:
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5", **fields})
    return (await accept(engine, request, tenant="default")).job_id


async def run(engine: Engine, *kinds: What) -> None:
    """Do what is due of these kinds, as if its time had come and every lease had ended."""
    for what in kinds:
        await engine.database.fetch(
            "UPDATE due SET at = now() - interval '1 s', lease = NULL WHERE what = %s", (what,)
        )
        for row in await engine.database.fetch(
            "SELECT DISTINCT lane FROM due WHERE what = %s", (what,)
        ):
            await Pump(verb_for(what, engine), engine.database, row["lane"], seconds=0.2).run()


async def attempts(engine: Engine) -> list[dict[str, Any]]:
    return await engine.database.fetch("SELECT * FROM attempt ORDER BY id")


async def shown(engine: Engine) -> list[tuple[str, str | None]]:
    return [(row["state"], row["operation_id"]) for row in await attempts(engine)]


async def owned(engine: Engine) -> list[str]:
    """Every operation that some attempt has."""
    rows = await engine.database.fetch("SELECT operation_id AS id FROM attempt ORDER BY 1")
    return [row["id"] for row in rows if row["id"]]


async def cancel(engine: Engine, job: str) -> None:
    async def work(connection: Connection) -> None:
        await finish(engine, connection, JobState.CANCELLED, [job])

    await engine.database.run(work)


async def left_in_doubt(engine: Engine) -> str:
    """An attempt that is looked up, as a worker leaves it that died after its POST."""
    job = await submitted(engine)
    (row,) = await engine.database.fetch(
        "UPDATE attempt SET state = 'unknown', sent_at = now() - interval '1 hour', "
        "payload_hash = 'x' RETURNING id"
    )
    await engine.database.fetch("UPDATE job SET state = 'submitting'")
    await engine.database.fetch("INSERT INTO event (job, kind) VALUES (%s, 'submitting')", (job,))
    await engine.database.fetch("UPDATE due SET what = 'look_up' WHERE what = 'submit'")
    return str(row["id"])


async def contradictions(engine: Engine) -> list[str]:
    return [found.kind for found in await engine.database.run(violations)]


# -- evidence that comes late ---------------------------------------------------------------------


async def test_an_operation_that_was_proven_absent_takes_its_video_back(
    engine: Engine, vendor: Vendor
) -> None:
    # Given an attempt that was found to be absent, and another that is planned in its place
    first = await left_in_doubt(engine)
    await settle_absent(engine, first)
    assert [state for state, _ in await shown(engine)] == ["refused", "planned"]
    # When its operation comes to light after all
    await record_accepted(engine, first, Accepted(operation_id="op-late"))
    await run(engine, What.SUBMIT)
    # Then the other is not sent, and the first makes the video
    assert vendor.posts == 0
    assert await shown(engine) == [("accepted", "op-late"), ("cancelled", None)]
    (made_by,) = await engine.database.fetch("SELECT attempt, state FROM output")
    assert made_by == {"attempt": first, "state": "expected"}
    assert await engine.database.fetch("SELECT state FROM job") == [{"state": "processing"}]
    told = await engine.database.fetch("SELECT detail FROM event")
    assert any("op-late" in json.dumps(row["detail"]) for row in told)
    assert await contradictions(engine) == []


async def test_an_unknown_attempt_that_comes_to_light_releases_its_replacement(
    engine: Engine, vendor: Vendor
) -> None:
    # Given at_least_once: another attempt is planned at once, and not sent yet
    vendor.words = ["lost"]
    await submitted(engine, unknown_policy="at_least_once")
    await run(engine, What.SUBMIT)
    first, second = await attempts(engine)
    assert (first["state"], second["state"]) == ("unknown", "planned")
    # When the first one's operation is told
    await record_accepted(engine, first["id"], Accepted(operation_id="op-late"))
    await run(engine, What.SUBMIT)
    # Then nothing is paid a second time
    assert vendor.posts == 1
    assert await shown(engine) == [("accepted", "op-late"), ("cancelled", None)]
    assert await contradictions(engine) == []


async def test_an_operation_of_an_attempt_that_another_replaced_is_stopped(
    engine: Engine, vendor: Vendor
) -> None:
    # Given an attempt that was found to be absent, and another that is paid for by now
    first = await left_in_doubt(engine)
    await settle_absent(engine, first)
    await run(engine, What.SUBMIT)
    # When its operation comes to light
    await record_accepted(engine, first, Accepted(operation_id="op-late"))
    await run(engine, What.CANCEL)
    # Then it is kept as evidence, and stopped at the provider
    assert await owned(engine) == ["op-1", "op-late"]
    assert vendor.stopped == ["op-late"]
    assert vendor.posts == 1


@pytest.mark.parametrize("word", ["limited", "away"])
async def test_an_operation_of_an_attempt_that_was_put_off_is_not_paid_again(
    engine: Engine, vendor: Vendor, word: str
) -> None:
    # Given a POST that was turned down, or never connected, as far as we know
    vendor.words = [word]
    await submitted(engine)
    await run(engine, What.SUBMIT)
    (attempt,) = await attempts(engine)
    assert attempt["state"] == "planned"
    # When its operation is told all the same
    await record_accepted(engine, attempt["id"], Accepted(operation_id="op-late"))
    await run(engine, What.SUBMIT)
    # Then it is not sent again
    assert vendor.posts == 1
    assert await shown(engine) == [("accepted", "op-late")]
    assert await contradictions(engine) == []


async def test_an_operation_of_an_attempt_that_was_refused_is_stopped(
    engine: Engine, vendor: Vendor
) -> None:
    vendor.words = ["refused"]
    await submitted(engine)
    await run(engine, What.SUBMIT)
    (attempt,) = await attempts(engine)
    await record_accepted(engine, attempt["id"], Accepted(operation_id="op-late"))
    await run(engine, What.CANCEL)

    assert await shown(engine) == [("cancelled", "op-late")]
    assert vendor.stopped == ["op-late"]
    # Its job stays as it ended
    assert await engine.database.fetch("SELECT state FROM job") == [{"state": "failed"}]
    assert await contradictions(engine) == []


async def test_an_operation_of_an_attempt_that_was_released_is_stopped(
    engine: Engine, vendor: Vendor
) -> None:
    """As after a restored backup: it was sent, and the row does not say so."""
    job = await submitted(engine)
    await cancel(engine, job)
    (attempt,) = await attempts(engine)
    assert attempt["state"] == "cancelled"
    await record_accepted(engine, attempt["id"], Accepted(operation_id="op-late"))
    await run(engine, What.CANCEL)

    assert await shown(engine) == [("cancelled", "op-late")]
    assert vendor.stopped == ["op-late"]
    assert await contradictions(engine) == []


async def test_a_second_operation_of_one_attempt_is_kept_and_stopped(
    engine: Engine, vendor: Vendor
) -> None:
    # Given an attempt with its operation
    await submitted(engine)
    await run(engine, What.SUBMIT)
    (attempt,) = await attempts(engine)
    # When another one of it comes to light, told twice
    for _ in range(2):
        await record_accepted(engine, attempt["id"], Accepted(operation_id="op-second"))
    await run(engine, What.CANCEL)
    # Then both are known, and the second is stopped
    assert await owned(engine) == ["op-1", "op-second"]
    assert vendor.stopped == ["op-second"]
    # It was paid for twice, and doctor says so
    assert await contradictions(engine) == ["paid_twice"]


@pytest.mark.parametrize("word", ["limited", "taken"])
async def test_a_callback_is_evidence_in_every_state(
    make_engine: MakeEngine, vendor: Vendor, word: str
) -> None:
    # Given an attempt that was put off, or has another operation
    engine = facing(make_engine(**MINIMAX), FarSide(vendor.reply))
    vendor.words = [word]
    await submitted(engine, model="hailuo-2.3")
    await run(engine, What.SUBMIT)
    (attempt,) = await attempts(engine)
    # When the provider's callback tells of an operation
    body = json.dumps({"task_id": "op-told", "status": "processing"}).encode()
    await hear(engine, attempt["provider"], attempt["marker"], headers={}, body=body)
    await run(engine, What.SUBMIT)
    # Then it is known, and nothing is sent again
    assert "op-told" in await owned(engine)
    assert vendor.posts == 1
    await engine.close()


async def test_the_operator_may_tell_of_an_operation_in_every_state(
    engine: Engine, vendor: Vendor
) -> None:
    vendor.words = ["refused"]
    await submitted(engine)
    await run(engine, What.SUBMIT)
    (attempt,) = await attempts(engine)
    refused = ""
    try:
        await settle_accepted(engine, attempt["id"], "op-late")
    except Exception as error:  # noqa: BLE001 - that it is refused is what must not be
        refused = str(error)

    assert refused == ""
    assert await owned(engine) == ["op-late"]


# -- nobody pays for nobody -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "count"), [("at_least_once", 1), ("at_most_once", 2)], ids=["moved", "failed"]
)
async def test_an_absent_attempt_whose_videos_are_gone_is_not_replaced(
    engine: Engine, vendor: Vendor, policy: str, count: int
) -> None:
    # Given an unknown attempt whose video another makes, or that has failed already
    vendor.words = ["lost"]
    await submitted(engine, unknown_policy=policy, count=count)
    await run(engine, What.SUBMIT, What.SUBMIT)
    (unknown,) = [row for row in await attempts(engine) if row["state"] == "unknown"]
    assert vendor.posts == 2
    # When the operator finds that the provider took nothing
    await settle_absent(engine, unknown["id"])
    await run(engine, What.SUBMIT)
    # Then nothing more is paid for
    assert vendor.posts == 2
    assert len(await attempts(engine)) == 2
    assert await contradictions(engine) == []


async def test_doctor_finds_an_attempt_that_is_planned_for_nobody(engine: Engine) -> None:
    await submitted(engine, count=2)
    await engine.database.fetch(
        "UPDATE output SET state = 'failed', error = '{}' WHERE position = 1"
    )
    assert await contradictions(engine) != []


# -- marked as sent, and never sent ---------------------------------------------------------------


@asynccontextmanager
async def commit_answer_lost(engine: Engine, *, away: int = 0) -> AsyncIterator[None]:
    """The first commit of `sent` happens, and the connection breaks before its answer comes.

    The database is out of reach for `away` tries after that.
    """
    real, answers = engine.database.transaction, ["lost", *["away"] * away]

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Any]:
        if answers[:1] == ["away"]:
            answers.pop(0)
            raise psycopg.OperationalError("connection refused")
        async with real() as connection:
            yield connection
            rows = await connection.execute("SELECT 1 FROM attempt WHERE state = 'sent'")
            is_sent = await rows.fetchone() is not None
        if is_sent and answers[:1] == ["lost"]:
            answers.pop(0)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    engine.database.transaction = transaction  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.database.transaction = real  # type: ignore[method-assign]


async def test_a_commit_of_sent_whose_answer_was_lost_is_recognised(
    engine: Engine, vendor: Vendor
) -> None:
    await submitted(engine)
    async with commit_answer_lost(engine):
        await run(engine, What.SUBMIT)

    assert vendor.posts == 1
    assert await shown(engine) == [("accepted", "op-1")]


async def test_what_was_marked_and_never_sent_is_planned_again(
    engine: Engine, vendor: Vendor
) -> None:
    # Given a worker that can't learn for a while whether its mark was committed
    await submitted(engine)
    async with commit_answer_lost(engine, away=4):
        await run(engine, What.SUBMIT)
    # Then it has sent nothing, takes its mark back, and sends it in its turn
    assert vendor.posts == 0
    assert await shown(engine) == [("planned", None)]
    await run(engine, What.SUBMIT)
    assert await shown(engine) == [("accepted", "op-1")]


async def test_what_was_surely_not_sent_is_planned_again_although_its_lease_has_ended(
    engine: Engine, vendor: Vendor
) -> None:
    # Given a POST that never connects, at a worker whose lease ends meanwhile
    async def reply(request: Request) -> Response:
        if kind_of(request) == "submit" and not vendor.posts:
            vendor.posts += 1
            await engine.database.fetch("UPDATE due SET lease = gen_random_uuid()")
            raise NotSent("no connection within 10 s")
        return await vendor.reply(request)

    await submitted(engine)
    await run(facing(engine, FarSide(reply)), What.SUBMIT)
    # Then it is planned as before, and sent in its turn
    assert await shown(engine) == [("planned", None)]
    await run(engine, What.SUBMIT)
    assert await shown(engine) == [("accepted", "op-2")]


async def test_a_sent_attempt_whose_account_is_gone_is_settled(
    make_engine: MakeEngine, engine: Engine
) -> None:
    # Given an attempt that was sent long ago, without an answer, and an account without a key
    job = await submitted(engine)
    await engine.database.fetch(
        "UPDATE attempt SET state = 'sent', sent_at = now() - interval '1 hour', payload_hash = 'x'"
    )
    await engine.database.fetch("UPDATE job SET state = 'submitting'")
    await engine.database.fetch(
        "INSERT INTO event (job, kind) SELECT id, 'submitting' FROM job WHERE id = %s", (job,)
    )
    without = replace(engine, accounts={})
    # When somebody finds it
    await run(without, What.SUBMIT)
    # Then it is unknown, and its job has ended by its policy
    assert await shown(engine) == [("unknown", None)]
    ended = await engine.database.fetch("SELECT state, error ->> 'code' AS code FROM job")
    assert ended == [{"state": "failed", "code": "submit_unknown"}]
    assert await contradictions(engine) == []


# -- one counter for each purpose -----------------------------------------------------------------


async def test_an_outage_of_polls_leaves_cancel_all_its_tries(
    engine: Engine, vendor: Vendor
) -> None:
    # Given an operation whose provider was away for many polls
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    vendor.polls = "broken"
    for _ in range(6):
        await run(engine, What.POLL)
    # When its job is cancelled, and the first cancel fails
    await cancel(engine, job)
    vendor.cancels = "broken"
    await run(engine, What.CANCEL)
    # Then it is tried again, and stopped
    assert await engine.database.fetch("SELECT what FROM due") == [{"what": "cancel"}]
    vendor.cancels = "stopped"
    await run(engine, What.CANCEL)
    assert vendor.stopped == ["op-1"]
    assert await shown(engine) == [("cancelled", "op-1")]
