"""A letter of `video.enqueue_batch` becomes one batch, or a dead letter that can be retried."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from models.failure import RequestRefused
from models.keys import create_key
from tasks.engine import Engine
from tasks.forms import ENQUEUE_BATCH
from tasks.letters import Letter, Made, retry, take_in
from tests.integration.conftest import MakeEngine

pytestmark = pytest.mark.anyio

CANARY = "c4nary-of-a-batch"
LINES = [
    {"prompt": "a fox", "model": "gen4.5"},
    {"prompt": "a sea", "model": "gen4.5", "custom_id": "second"},
]
INVALID = [LINES[0], LINES[1] | {"fps": CANARY}, LINES[1] | {"custom_id": "third", "fps": CANARY}]


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = make_engine()
    yield engine
    await engine.close()


def letter(*args: Any, task_id: str = "t-1", **kwargs: Any) -> Letter:
    return Letter(form=ENQUEUE_BATCH, task_id=task_id, args=args, kwargs=kwargs)


async def batches(engine: Engine) -> list[tuple[str, int]]:
    rows = await engine.database.fetch("SELECT id, lines FROM batch")
    return [(row["id"], row["lines"]) for row in rows]


async def dead(engine: Engine) -> list[Mapping[str, Any]]:
    return list(await engine.database.fetch("SELECT * FROM intake_failure ORDER BY id"))


async def test_a_message_that_comes_twice_is_one_batch(engine: Engine) -> None:
    options = {"concurrency": 2}

    first = await take_in(engine, letter(requests=LINES, batch_id="b-1", options=options))
    again = await take_in(engine, letter(LINES, "b-1", options, "default", task_id="t-2"))

    assert first is not None
    assert again is not None
    assert (first.id, first.form, first.is_repeat) == ("b-1", ENQUEUE_BATCH, False)
    assert (again.id, again.is_repeat, again.hints) == ("b-1", True, ())
    assert await batches(engine) == [("b-1", 2)]


async def test_invalid_lines_are_told_by_the_first_without_its_values(engine: Engine) -> None:
    assert await take_in(engine, letter(requests=INVALID, batch_id="b-1")) is None

    (row,) = await dead(engine)
    assert (row["task"], row["batch"], row["job"]) == ("video.enqueue_batch", "b-1", None)
    assert (row["code"], row["param"], row["line"]) == ("invalid_lines", "fps", 2)
    assert "line 2" in row["message"]
    assert CANARY not in row["message"]
    assert engine.vault.open_json(row["payload"])["kwargs"]["requests"] == INVALID
    assert await batches(engine) == []


async def test_invalid_lines_may_be_left_out(engine: Engine) -> None:
    options = {"on_invalid": "skip"}

    await take_in(engine, letter(requests=INVALID, batch_id="b-1", options=options))

    assert await batches(engine) == [("b-1", 1)]
    assert await dead(engine) == []


async def test_a_wrong_option_is_named_without_its_value(engine: Engine) -> None:
    options = {"webhook_url": f"ftp://example.com/{CANARY}"}

    assert await take_in(engine, letter(requests=LINES, batch_id="b", options=options)) is None

    (row,) = await dead(engine)
    assert row["param"] == "options.webhook_url"
    assert CANARY not in row["message"]


async def test_a_dead_letter_that_is_retried_makes_its_batch(engine: Engine) -> None:
    await take_in(engine, letter(requests=LINES, batch_id="b-1", tenant="newcomer"))
    (row,) = await dead(engine)
    with pytest.raises(RequestRefused, match="newcomer"):
        await retry(engine, row["id"], tenant=None)
    await engine.database.run(lambda connection: create_key(connection, "newcomer"))

    tries = (retry(engine, row["id"], tenant="newcomer") for _ in range(2))
    made = await asyncio.gather(*tries, return_exceptions=True)

    assert {each.id for each in made if isinstance(each, Made)} == {"b-1"}
    gone = [each for each in made if isinstance(each, RequestRefused)]
    assert {each.type for each in gone} <= {"not_found"}
    assert await batches(engine) == [("b-1", 2)]
    assert await dead(engine) == []


async def test_a_batch_is_kept_whatever_its_characters_are(engine: Engine) -> None:
    # 0.9 MB in UTF-8, 1.8 MB escaped
    lines = [{"prompt": "海" * 300, "model": "gone"} for _ in range(1000)]

    await take_in(engine, letter(requests=lines, batch_id="b-1"))

    (row,) = await dead(engine)
    assert engine.vault.open_json(row["payload"])["kwargs"]["requests"] == lines
