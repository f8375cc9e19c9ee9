"""Messages of the broker with values that no request may have: dead letters with the field's name.

None of them is an error of our own, which would be tried again for ever.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.keys import create_key
from tasks.engine import Engine
from tasks.forms import ENQUEUE_BATCH
from tasks.letters import Letter, take_in
from tests.integration.conftest import MakeEngine

pytestmark = pytest.mark.anyio
BIG = 10**400
LATE = (datetime.now(UTC) + timedelta(days=31)).isoformat()

#: A field, a value, and the field that is named.
FIELDS: list[tuple[str, Any]] = [
    *((name, BIG) for name in ("cfg_scale", "max_cost_usd", "seed", "fps", "count")),
    *((name, -BIG) for name in ("duration_seconds", "motion_bucket_id", "deadline_seconds")),
    *(
        (name, "a\x00b")
        for name in (
            *("prompt", "negative_prompt", "model", "gate", "webhook_secret", "resolution"),
            *("aspect_ratio", "size", "priority", "run_at", "unsupported", "unknown_policy"),
        )
    ),
    *(
        (name, url)
        for name in ("webhook_url", "image", "last_image")
        for url in (
            *("https://a.test/\x00", "https://a.test:99999/", "https://a.test:abc/", "https:"),
            *(
                "https://a.test/ b",
                f"https://{'a' * 64}.test/",
                "http://10.0.0.1/",
                "http://[::1]/",
            ),
        )
    ),
    ("image", "data:image/png;base64,!!!!"),
    ("image", "data:image/png;base64,aGVsbG8="),
    ("webhook_secret", "short"),
    ("run_at", "8999-01-01T00:00:00Z"),
    ("run_at", LATE),
    ("prompt", "half a pair: \ud800"),
]


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    engine = make_engine(LONGTAKE_ALLOW_PRIVATE_HOSTS="")
    await engine.database.run(lambda connection: create_key(connection, "default"))
    return engine


async def test_a_value_that_can_never_work_is_a_dead_letter_that_names_its_field(
    engine: Engine, subtests: pytest.Subtests
) -> None:
    hook = {"webhook_url": "https://hooks.test/"}
    for number, (name, value) in enumerate(FIELDS):
        with subtests.test(msg=f"{name}: {str(value)[:40]!r}"):
            request = {"prompt": "a", "model": "gen4.5", **hook, name: value}
            id_ = f"single-{number}"
            made = await take_in(engine, Letter(task_id=id_, args=[request], kwargs={}))
            assert made is None
            assert await _reason(engine, id_) == ("invalid_request", name)

            kwargs = {"requests": [request], "batch_id": f"batch-{number}"}
            letter = Letter(form=ENQUEUE_BATCH, task_id=f"b-{number}", args=[], kwargs=kwargs)
            assert await take_in(engine, letter) is None
            code, param = await _reason(engine, f"b-{number}")
            assert (code, param) == ("invalid_lines", name)
    rows = await engine.database.fetch("SELECT count(*) AS jobs FROM job")
    assert rows[0]["jobs"] == 0


async def _reason(engine: Engine, task_id: str) -> tuple[str, str | None]:
    sql = "SELECT code, param FROM intake_failure WHERE task_id = %s"
    (row,) = await engine.database.fetch(sql, (task_id,))
    return row["code"], row["param"]
