"""A deleted job is erased when all of it has ended: nothing that its owner sent or got is left."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from models.advance import tell
from models.database import Connection
from models.failure import RequestRefused
from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from providers.base import Accepted
from storage.base import Unavailable
from tasks.deletion import delete
from tasks.deliveries import replay
from tasks.engine import Engine
from tasks.intake import accept
from tasks.letters import Letter, take_in
from tasks.outcomes.accepted import record_accepted
from tasks.repeats import Caller
from tasks.resent import Unkeyed
from tasks.upkeep.recover import retry_store
from tasks.upkeep.reseal import reseal
from tasks.verbs.erase import ERASED
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, Script, facing, kind_of, said
from tests.integration.engine.house import run
from tests.integration.engine.lock_order import LockOrder
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

#: What its owner sent; each word is found wherever it is left.
BODY = {
    "prompt": "a-word-of-the-prompt",
    "negative_prompt": "a-word-of-the-other-prompt",
    "model": "gen4.5",
    "image": "https://pictures.test/a-word-of-the-picture.png",
    "metadata": {"order": "a-word-of-the-metadata"},
    "webhook_url": "http://127.0.0.1/a-word-of-the-hook",
    "webhook_secret": "a-word-of-the-secret",
    "unsupported": "ignore",
}
LIFE = (What.SUBMIT, What.POLL, What.STORE, What.DELIVER)
TABLES = (
    *("job", "attempt", "output", "event", "delivery", "delivery_try", "idempotency", "due"),
    *("submission", "intake_failure", "picture", "picture_use"),
)
SEALED = {
    "job": ("scene", "webhook"),
    "output": ("source",),
    "delivery": ("target", "body"),
    "idempotency": ("response",),
    "submission": ("response",),
    "intake_failure": ("payload",),
    "picture": ("sealed",),
}


@pytest.fixture
def vendor() -> Script:
    return Script()


@pytest.fixture
async def engine(make_engine: MakeEngine, vendor: Script) -> AsyncIterator[Engine]:
    engine, watcher = facing(make_engine(), FarSide(vendor.reply)), make_engine()
    order = LockOrder(watcher.database)
    order.watch(engine.database)
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()
    await watcher.close()
    assert order.faults == []
    assert order.watched


async def _stays() -> bool:
    return False


async def submitted(engine: Engine) -> str:
    own = Unkeyed(id="sub_1", fingerprint=b"own", is_gone=_stays)
    caller = Caller(idempotency_key="order-1", unkeyed=own)
    request = VideoRequest.from_json(BODY)
    return (await accept(engine, request, tenant="default", caller=caller)).job_id


async def row_of(engine: Engine, job: str) -> dict[str, Any]:
    (row,) = await engine.database.fetch("SELECT * FROM job WHERE id = %s", (job,))
    return row


async def due_kinds(engine: Engine) -> list[str]:
    rows = await engine.database.fetch("SELECT what FROM due ORDER BY what")
    return [row["what"] for row in rows]


async def left(engine: Engine) -> str:
    """Everything in the rows, with what is sealed opened."""
    found = []
    for table in TABLES:
        for row in await engine.database.fetch(f"SELECT * FROM {table}"):  # noqa: S608 - constants
            for column in SEALED.get(table, ()):
                if row[column] is not None:
                    row[column] = engine.vault.open(row[column]).decode()
            found.append(str(row))
    return "\n".join(found)


async def test_nothing_is_left_but_times_and_cost(engine: Engine) -> None:
    # Given a job whose words are everywhere
    job = await submitted(engine)
    await run(engine, *LIFE)
    before = await row_of(engine, job)
    (video,) = await engine.database.fetch("SELECT key FROM output")
    words = await left(engine)
    assert before["state"] == "complete"
    assert all(word in words for word in ("of-the-prompt", "of-the-hook", "of-the-metadata"))
    assert await engine.storage.head(video["key"])

    # When it is deleted
    await delete(engine, job, tenant="default")
    await run(engine, What.ERASE)

    # Then no word and no video of it is left
    assert "a-word-of" not in await left(engine)
    assert await engine.storage.head(video["key"]) is None
    after = await row_of(engine, job)
    for kept in ("id", "tenant", "state", "created_at", "finished_at", "cost_micros", "model"):
        assert after[kept] == before[kept]
    assert after["erased_at"] is not None
    assert await due_kinds(engine) == []
    assert await engine.database.fetch("SELECT id FROM delivery") == []
    assert await reseal(engine) > 0


async def test_nothing_is_left_of_what_a_vendor_said(engine: Engine, vendor: Script) -> None:
    """It may quote any field, whole or in part, and nobody can tell what it quotes."""
    quoting = {"failure": "rejected: a-word-of-my-neighbour", "failureCode": "SAFETY.INPUT"}

    async def reply(request: Request) -> Response:
        if kind_of(request) != "poll":
            return await vendor.reply(request)
        id_ = request.url.rpartition("/")[2]
        task = {"id": id_, "status": "FAILED", "createdAt": "2026-01-01T00:00:00Z"}
        return said(200, task | quoting)

    job = await submitted(engine)
    await run(facing(engine, FarSide(reply)), *LIFE)
    words = {"attempt": "a", "reason": "a-word-of-the-prompt", "said": "a-word-of-the-prompt"}
    await engine.database.run(lambda c: tell(c, "attempt.unknown", [(job, words)]))
    for table in ("job", "attempt", "output"):
        (row,) = await engine.database.fetch(f"SELECT error FROM {table}")  # noqa: S608 - constants
        assert "a-word-of-my-neighbour" in row["error"]["message"]

    await delete(engine, job, tenant="default")
    await run(engine, What.ERASE)

    assert "a-word-of" not in await left(engine)
    for table in ("job", "attempt", "output"):
        (row,) = await engine.database.fetch(f"SELECT error FROM {table}")  # noqa: S608 - constants
        assert (row["error"]["fault"], row["error"]["message"]) == ("moderated", ERASED)


async def test_a_dead_letter_of_the_same_job_goes_with_it(engine: Engine) -> None:
    # Given a message that was refused before its job was made, and those of other jobs
    bad = {"request": {"prompt": "a-word-of-the-prompt", "fps": "many"}}
    for number, own in enumerate(({"job_id": "mine"}, {}, {"job_id": "mine", "tenant": "other"})):
        letter = Letter(task_id=f"t-{number}", args=(), kwargs=bad | own)
        assert await take_in(engine, letter) is None
    body = {"prompt": "a-word-of-the-prompt", "model": "gen4.5"}
    good = Letter(task_id="t-9", args=(), kwargs={"request": body, "job_id": "mine"})
    assert await take_in(engine, good) is not None
    await run(engine, *LIFE)

    await delete(engine, "mine", tenant="default")
    await run(engine, What.ERASE)
    # When messages with the same id come again, good ones and bad ones
    for again in (good, replace(good, task_id="t-10", kwargs=bad | {"job_id": "mine"})):
        assert await take_in(engine, again) is None or again is good

    rows = await engine.database.fetch("SELECT task_id FROM intake_failure ORDER BY id")
    assert [row["task_id"] for row in rows] == ["t-1", "t-2"]
    assert "a-word-of" not in str(await row_of(engine, "mine"))


async def test_a_running_operation_is_stopped_before_anything_is_erased(
    engine: Engine, vendor: Script
) -> None:
    job = await submitted(engine)
    await run(engine, What.SUBMIT)
    await delete(engine, job, tenant="default")
    vendor.words["cancel"] = "broken"

    await run(engine, What.DELIVER, What.CANCEL, What.ERASE)

    assert await due_kinds(engine) == ["cancel", "erase"]
    assert (await row_of(engine, job))["prompt"] == BODY["prompt"]
    vendor.words.clear()
    await run(engine, What.CANCEL, What.ERASE)
    assert await due_kinds(engine) == []
    assert "a-word-of" not in await left(engine)
    (attempt,) = await engine.database.fetch("SELECT state, operation_id FROM attempt")
    assert attempt == {"state": "cancelled", "operation_id": "op-1"}


async def test_the_owner_is_told_of_the_end_before_the_target_is_erased(
    engine: Engine, vendor: Script
) -> None:
    job = await submitted(engine)
    await delete(engine, job, tenant="default")
    vendor.words["deliver"] = "broken"
    await run(engine, What.DELIVER, What.ERASE)
    assert await due_kinds(engine) == ["deliver", "erase"]

    vendor.words.clear()
    await run(engine, What.DELIVER, What.ERASE)

    assert await due_kinds(engine) == []
    assert "a-word-of" not in await left(engine)


async def test_what_has_waited_for_long_is_looked_at_rarely(engine: Engine, vendor: Script) -> None:
    """A dead receiver holds an erasure back for days."""
    job = await submitted(engine)
    await run(engine, *LIFE[:-1])
    await delete(engine, job, tenant="default")
    vendor.words["deliver"] = "broken"
    for hours, low, high in ((0, 1, 30), (1, 590, 600)):
        sql = "UPDATE job SET deleted_at = now() - %s * interval '1 h'"
        await engine.database.fetch(sql, (hours,))
        await run(engine, What.DELIVER, What.ERASE)
        sql = "SELECT extract(epoch FROM at - now())::float8 AS wait FROM due WHERE what = 'erase'"
        (row,) = await engine.database.fetch(sql)
        assert low < row["wait"] <= high


async def test_while_the_storage_is_away_nothing_is_forgotten(
    engine: Engine,
) -> None:
    job = await submitted(engine)
    await run(engine, *LIFE)
    await delete(engine, job, tenant="default")
    (video,) = await engine.database.fetch("SELECT key FROM output")

    class Away:
        async def delete(self, key: str) -> None:
            raise Unavailable(key)

    away: Any = Away()
    await run(replace(engine, storage=away), What.ERASE)

    assert await due_kinds(engine) == ["erase"]
    assert await engine.database.fetch("SELECT key FROM output") == [video]
    await run(engine, What.ERASE)
    assert await engine.storage.head(video["key"]) is None
    assert await due_kinds(engine) == []


async def test_what_is_replayed_while_the_videos_are_removed_is_delivered_first(
    engine: Engine,
) -> None:
    job = await submitted(engine)
    await run(engine, *LIFE)
    (row,) = await engine.database.fetch("SELECT id FROM delivery")
    removed = engine.storage.delete

    # Given a replay that was asked for before the delete, and is committed after the load
    class Slow:
        async def delete(self, key: str) -> None:
            await removed(key)
            sql = "UPDATE delivery SET state = 'pending', finished_at = NULL WHERE id = %s"
            await engine.database.fetch(sql, (row["id"],))
            sql = "INSERT INTO due (what, id, lane, tenant) VALUES ('deliver', %s, %s, 'default')"
            await engine.database.fetch(sql, (row["id"], "127.0.0.1"))

    slow: Any = Slow()
    await delete(engine, job, tenant="default")
    await run(replace(engine, storage=slow), What.ERASE)

    assert await due_kinds(engine) == ["deliver", "erase"]
    await run(engine, What.DELIVER, What.ERASE)
    assert await due_kinds(engine) == []
    assert "a-word-of" not in await left(engine)


async def test_nothing_of_a_deleted_job_can_be_asked_for_again(engine: Engine) -> None:
    job = await submitted(engine)
    await run(engine, *LIFE)
    (row,) = await engine.database.fetch("SELECT id FROM delivery")
    await delete(engine, job, tenant="default")

    async def brought_in(connection: Connection) -> None:
        await retry_store(connection, job)

    with pytest.raises(RequestRefused, match="was deleted"):
        await engine.database.run(brought_in)
    with pytest.raises(RequestRefused, match="Webhook delivery not found"):
        await replay(engine, row["id"], tenant="default")
    assert await due_kinds(engine) == ["erase"]
    await run(engine, What.ERASE)


async def test_an_operation_that_comes_to_light_later_is_still_stopped(
    engine: Engine, vendor: Script
) -> None:
    """Its vendor's error quotes the prompt, which nobody can take out any more: it is not kept."""
    job = await submitted(engine)
    vendor.words["submit"] = "lost"
    await run(engine, What.SUBMIT)
    await delete(engine, job, tenant="default")
    await engine.database.fetch("DELETE FROM due WHERE what = 'look_up'")
    await run(engine, What.DELIVER, What.ERASE)
    assert (await row_of(engine, job))["erased_at"] is not None
    (attempt,) = await engine.database.fetch("SELECT id FROM attempt WHERE state = 'unknown'")

    await record_accepted(engine, attempt["id"], Accepted(operation_id="op-late"))
    vendor.words |= {"cancel": "broken", "poll": "failed"}
    await run(engine, *[What.CANCEL] * 6, What.POLL)

    (ended,) = await engine.database.fetch("SELECT state, error FROM attempt")
    assert ended["state"] == "failed"
    assert ended["error"]["message"] == "the operation failed after its job was deleted"
    assert await due_kinds(engine) == []
