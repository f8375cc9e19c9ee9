"""A job comes into being whole, or not at all, and only once for each name it was given."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
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
from tasks.repeats import Accepted, Caller, canonical_hash
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, answers_to, facing, kind_of
from transport.base import Request, Response

pytestmark = pytest.mark.anyio

BODY = {"prompt": "a quiet sea", "model": "gen4.5"}


async def take_all(request: Request) -> Response:
    answer = answers_to(request, abs(hash(request.content)))["accepted"]
    assert isinstance(answer, Response)
    return answer


@pytest.fixture
def far_side() -> FarSide:
    return FarSide(take_all)


@pytest.fixture
async def engine(make_engine: MakeEngine, far_side: FarSide) -> AsyncIterator[Engine]:
    engine = facing(make_engine(), far_side)
    yield engine
    assert await engine.database.run(violations) == []
    await engine.close()


async def ask(
    engine: Engine, *, key: str | None = None, job_id: str | None = None, **fields: Any
) -> Accepted:
    body = BODY | fields
    caller = Caller(idempotency_key=key, body_hash=canonical_hash(body))
    request = VideoRequest.from_json(body)
    return await accept(engine, request, tenant="default", job_id=job_id, caller=caller)


async def count(engine: Engine, table: str) -> int:
    sql = {
        "job": "SELECT count(*) FROM job",
        "attempt": "SELECT count(*) FROM attempt",
        "due": "SELECT count(*) FROM due",
    }[table]
    (row,) = await engine.database.fetch(sql)
    return int(row["count"])


async def test_what_was_accepted_is_whole(engine: Engine) -> None:
    accepted = await ask(engine, count=3)

    assert accepted.lane == "runway"
    assert accepted.view["status"] == "pending"
    assert (await count(engine, "job"), await count(engine, "attempt")) == (1, 3)
    kinds = await engine.database.fetch(
        "SELECT what, count(*) FROM due GROUP BY what ORDER BY what"
    )
    assert [(row["what"], row["count"]) for row in kinds] == [("expire", 1), ("submit", 3)]


async def test_ten_racing_requests_with_one_key_make_one_job(engine: Engine) -> None:
    answers = await asyncio.gather(*(ask(engine, key="k-1") for _ in range(10)))

    assert len({answer.job_id for answer in answers}) == 1
    assert sum(not answer.is_repeat for answer in answers) == 1
    assert len({str(answer.view) for answer in answers}) == 1
    assert await count(engine, "job") == 1


async def test_ten_racing_requests_with_one_job_id_make_one_job(engine: Engine) -> None:
    answers = await asyncio.gather(*(ask(engine, job_id="mine") for _ in range(10)))

    assert {answer.job_id for answer in answers} == {"mine"}
    assert sum(not answer.is_repeat for answer in answers) == 1
    assert await count(engine, "attempt") == 1


async def test_the_first_answer_is_given_again_whatever_has_become_of_the_job(
    engine: Engine,
) -> None:
    first = await ask(engine, key="k-1")
    await engine.database.fetch("UPDATE job SET progress_percent = 50")
    again = await ask(engine, key="k-1")
    assert again.view == first.view
    assert again.is_repeat


async def test_a_key_with_another_body_is_a_mismatch(engine: Engine) -> None:
    await ask(engine, key="k-1")
    with pytest.raises(RequestRefused) as refused:
        await ask(engine, key="k-1", seed=7)
    assert refused.value.type == "idempotency_mismatch"
    assert await count(engine, "job") == 1


async def test_a_key_belongs_to_its_tenant(engine: Engine) -> None:
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('other')")
    first = await ask(engine, key="k-1")
    request = VideoRequest.from_json(BODY)
    caller = Caller(idempotency_key="k-1", body_hash=canonical_hash(BODY))
    second = await accept(engine, request, tenant="other", caller=caller)
    assert first.job_id != second.job_id


async def test_a_job_id_of_another_tenant_is_taken_and_says_nothing_else(engine: Engine) -> None:
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('other')")
    await ask(engine, job_id="mine")
    with pytest.raises(RequestRefused, match="'mine' is taken"):
        await accept(engine, VideoRequest.from_json(BODY), tenant="other", job_id="mine")


async def test_a_body_is_the_same_however_it_is_written(engine: Engine) -> None:
    assert canonical_hash({"a": 1, "b": [1, {"c": "é"}]}) == canonical_hash(
        {"b": [1, {"c": "\u00e9"}], "a": 1}
    )
    assert canonical_hash({"a": 1}) != canonical_hash({"a": "1"})


async def test_a_refused_request_leaves_no_row(engine: Engine) -> None:
    with pytest.raises(RequestRefused):
        await ask(engine, duration_seconds=600)
    with pytest.raises(RequestRefused):
        await ask(engine, webhook_url="http://10.0.0.1/hook")
    assert await count(engine, "job") == 0


STRANGE: dict[str, dict[str, Any]] = {
    "NUL in the negative prompt": {"negative_prompt": "a\x00b", "unsupported": "ignore"},
    "NUL in metadata": {"metadata": {"a": ["b\x00"]}},
    "NUL in a metadata key": {"metadata": {"a\x00": 1}},
    "NaN in metadata": {"metadata": {"a": float("nan")}},
    "half a character in metadata": {"metadata": {"a": "\ud83d"}},
    "metadata too deep to read back": {"metadata": {"a": json.loads("[" * 900 + "]" * 900)}},
    "a year after which none comes": {"run_at": "9999-12-31T23:59:59Z"},
    "a year before the first": {"run_at": "0001-01-01T00:00:00+14:00"},
    "a time of nowhere": {"run_at": "2026-01-01T00:00:00"},
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_what_the_database_cannot_hold_is_refused_in_words(
    engine: Engine, strange: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        await ask(engine, **STRANGE[strange])
    assert refused.value.param == next(iter(STRANGE[strange]))


# -- when it starts -------------------------------------------------------------------------------


async def started(engine: Engine, far_side: FarSide) -> list[str]:
    """Prompts in the order in which they were sent, by one worker that sends one at a time."""
    verb = verb_for(What.SUBMIT, engine)
    object.__setattr__(verb, "concurrency", 1)
    due = "SELECT 1 AS one FROM due WHERE what = 'submit' AND at <= now()"
    for _ in range(50):  # a busy machine sends less in one run
        await Pump(verb, engine.database, "runway", seconds=0.2).run()
        if not await engine.database.fetch(due):
            break
    sent = [request for request in far_side.requests if kind_of(request) == "submit"]
    return [str(request.content).partition('promptText":"')[2][0] for request in sent]


async def test_priorities_overtake_within_a_tenant(engine: Engine, far_side: FarSide) -> None:
    await ask(engine, prompt="1 low", priority="low")
    await ask(engine, prompt="2 normal")
    await ask(engine, prompt="3 high", priority="high")
    await ask(engine, prompt="4 normal", priority="normal")

    assert await started(engine, far_side) == ["3", "2", "4", "1"]


async def test_a_priority_is_no_right_to_overtake_for_ever(
    engine: Engine, far_side: FarSide
) -> None:
    await ask(engine, prompt="1 low", priority="low")
    await engine.database.fetch("UPDATE due SET at = at - interval '2 hours'")
    await ask(engine, prompt="2 high", priority="high")

    assert await started(engine, far_side) == ["1", "2"]


async def test_nothing_is_sent_before_its_time(engine: Engine, far_side: FarSide) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    accepted = await ask(engine, prompt="1 later", run_at=later.isoformat(), priority="high")
    await ask(engine, prompt="2 past", run_at="2020-01-01T00:00:00+02:00")

    assert await started(engine, far_side) == ["2"]
    (row,) = await engine.database.run(lambda c: read_jobs(c, [accepted.job_id]))
    assert row.deadline_at >= later + timedelta(hours=23)


# -- what is kept ---------------------------------------------------------------------------------


async def test_no_secret_of_a_caller_is_in_a_plain_column(
    engine: Engine, database_url: str
) -> None:
    secrets = {
        "webhook_url": "https://hooks.test/path?token=t0ken-of-the-hook",
        "webhook_secret": "s3cret-of-the-hook",
        "image": "https://pictures.test/a.png?signature=s1gnature",
    }
    accepted = await ask(engine, **secrets)

    for table in ("job", "attempt", "output", "event", "due", "delivery", "idempotency"):
        rows = await engine.database.fetch(f"SELECT row_to_json(t)::text AS row FROM {table} AS t")  # noqa: S608
        for row in rows:
            for secret in ("t0ken", "s3cret", "s1gnature", "hooks.test", "pictures.test"):
                assert secret not in row["row"], table
    (job,) = await engine.database.run(lambda c: read_jobs(c, [accepted.job_id]))
    shown = str(job_view(job, api_url="https://video.test", vault=engine.vault))
    assert "hooks.test" not in shown
    assert "pictures.test" not in shown


async def test_a_column_that_only_a_newer_version_knows_is_not_read(engine: Engine) -> None:
    accepted = await ask(engine)
    for table in ("job", "output"):
        await engine.database.fetch(f"ALTER TABLE {table} ADD COLUMN newer text DEFAULT 'x'")

    (job,) = await engine.database.run(lambda c: read_jobs(c, [accepted.job_id]))
    view = job_view(job, api_url="https://video.test", vault=engine.vault)
    assert (view["id"], view["status"]) == (accepted.job_id, "pending")
    assert len(job.outputs) == 1
