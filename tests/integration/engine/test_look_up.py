"""When a look-up that finds nothing counts, what it counts for, and what resets the count."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from models.failure import RequestRefused
from models.invariants import violations
from models.request import VideoRequest
from models.verbs import What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.upkeep.reconcile import doubtful, settle_accepted
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, said
from transport.base import Request, Response, Unanswered

pytestmark = pytest.mark.anyio

NOTHING = said(200, {"code": 0, "data": []})
BROKEN = said(500, {})


@dataclass(slots=True)
class Script:
    """Kling takes nothing, and answers look-ups in turn: nothing there, if nothing else is said."""

    looks: list[Response] = field(default_factory=list)
    posts: int = 0

    async def reply(self, request: Request) -> Response:
        if request.method == "POST":
            self.posts += 1
            raise Unanswered("no answer within 60 s")
        return self.looks.pop(0) if self.looks else NOTHING


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def engine(make_engine: MakeEngine, script: Script) -> AsyncIterator[Engine]:
    """One whose only job has an attempt in doubt, of which nothing can be on its way any more."""
    environment = {"KLING_API_KEY": "kling-for-tests", "KLING_BASE_URL": "http://127.0.0.1:9"}
    engine = facing(make_engine(**environment), FarSide(script.reply))
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "kling-3.0"})
    await accept(engine, request, tenant="default")
    await pump(engine, What.SUBMIT)
    await shift(engine, minutes=5)
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def pump(engine: Engine, what: What = What.LOOK_UP) -> None:
    await engine.database.fetch(
        "UPDATE due SET at = now() - interval '1 s' WHERE what = %s", (what,)
    )
    await Pump(verb_for(what, engine), engine.database, "kling", seconds=0.05).run()


async def shift(engine: Engine, *, minutes: float) -> None:
    """Everything that was written of the attempt was so many minutes earlier."""
    await engine.database.fetch(
        """
        UPDATE attempt SET sent_at = sent_at - %(by)s::interval,
            answer_by = answer_by - %(by)s::interval,
            absent_after = absent_after - %(by)s::interval,
            negative_at = negative_at - %(by)s::interval
        """,
        {"by": f"{minutes} minutes"},
    )


async def first(engine: Engine) -> dict[str, Any]:
    (row, *_) = await engine.database.fetch("SELECT * FROM attempt ORDER BY id")
    return row


async def test_the_second_look_counts_only_some_time_after_the_first(engine: Engine) -> None:
    for _ in range(3):
        await pump(engine)
        assert (await first(engine))["negative_looks"] == 1
    assert (await first(engine))["state"] == "unknown"

    await shift(engine, minutes=1)
    await pump(engine)
    assert (await first(engine))["state"] == "refused"


async def test_a_look_before_an_absence_can_be_proven_does_not_count(engine: Engine) -> None:
    await engine.database.fetch("UPDATE attempt SET absent_after = now() + interval '1 minute'")
    await pump(engine)

    attempt = await first(engine)
    assert (attempt["state"], attempt["negative_looks"], attempt["look_ups"]) == ("unknown", 0, 1)


async def test_a_look_that_brings_no_answer_begins_the_count_anew(
    engine: Engine, script: Script
) -> None:
    script.looks = [NOTHING, BROKEN, NOTHING]
    counted = []
    for _ in range(3):
        await pump(engine)
        await shift(engine, minutes=1)
        counted.append((await first(engine))["negative_looks"])

    assert counted == [1, 0, 1]
    assert (await first(engine))["state"] == "unknown"


async def test_of_what_an_older_version_sent_nothing_proves_the_absence(
    engine: Engine, script: Script
) -> None:
    # Given an attempt whose row does not say with what it was sent
    await engine.database.fetch(
        "UPDATE attempt SET answer_by = NULL, absent_after = NULL, callback_base = NULL, "
        "sent_as = NULL, sent_by = NULL"
    )
    # When it is looked for, for a long time
    for _ in range(6):
        await pump(engine)
        await shift(engine, minutes=10)
    # Then it stays in doubt, and its job has ended by its policy
    assert (await first(engine))["state"] == "unknown"
    ended = await engine.database.fetch("SELECT state, error ->> 'code' AS code FROM job")
    assert ended == [{"state": "failed", "code": "submit_unknown"}]
    assert script.posts == 1


async def test_what_was_sent_says_how_long_it_lasts_and_with_what(engine: Engine) -> None:
    attempt = await first(engine)
    # 15 s to begin, 10 to connect, 60 to be answered, 5 of margin; 10 to arrive, 10 to be listed
    assert (attempt["answer_by"] - attempt["sent_at"]).total_seconds() == 90
    assert (attempt["absent_after"] - attempt["answer_by"]).total_seconds() == 20
    assert attempt["callback_base"] is None
    assert len(attempt["sent_as"]) == 32


async def test_reconcile_tells_from_when_on_looks_count_and_how_many_have(engine: Engine) -> None:
    await pump(engine)

    (told,) = await engine.database.run(doubtful)
    attempt = await first(engine)
    assert (told.id, told.negative_looks) == (attempt["id"], 1)
    assert told.absent_after == attempt["absent_after"]
    assert told.is_looked_up


async def test_an_operation_that_another_attempt_has_is_refused(engine: Engine) -> None:
    known = await first(engine)
    await settle_accepted(engine, known["id"], "task-1")
    request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "kling-3.0"})
    await accept(engine, request, tenant="default")
    (other,) = await engine.database.fetch("SELECT id FROM attempt WHERE id <> %s", (known["id"],))

    with pytest.raises(RequestRefused, match=known["id"]):
        await settle_accepted(engine, other["id"], "task-1")
    with pytest.raises(RequestRefused, match="no attempt att_nobody"):
        await settle_accepted(engine, "att_nobody", "task-2")
