"""The pages of batches: the list, counts, cancel and retry, and results as a file."""

import json
from typing import Any

import pytest

from models.keys import create_key
from models.verbs import What
from tests.integration.api.browsing import signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import HOSTILE, told

pytestmark = pytest.mark.anyio
FAILED = """
UPDATE job SET state = 'failed', finished_at = now(), cost_micros = 0,
    error = '{"code": "generation_failed", "message": "no"}'
WHERE batch_id = %s AND batch_line = %s
"""


async def new_batch(api: Api, *prompts: str, **options: Any) -> dict[str, Any]:
    body = {"options": options, "requests": [{"prompt": prompt} for prompt in prompts]}
    answer = await api.http.post("/v1/batches", content=json.dumps(body).encode())
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_the_list_and_a_batch_show_counts_and_money(api: Api) -> None:
    batch = await new_batch(api, "a fox", "a hare", name=HOSTILE.replace("\x07", ""))
    other = await new_batch(api, "an owl", name="the second")
    await api.http.post(f"/v1/batches/{other['id']}/cancel")
    browser = await signed_in(api)

    every = await browser.open("/ui/batches")
    cancelling = await browser.open("/ui/batches?status=cancelling")
    one = await browser.open(f"/ui/batches/{batch['id']}")

    assert [each in every.text for each in (batch["id"], other["id"])] == [True, True]
    assert batch["id"] not in cancelling.text
    assert "the second" in cancelling.text
    assert "<script>alert" not in one.text
    assert "⟨U+202E⟩" in told(one.text)
    assert "2 lines" in told(one.text)
    assert f"/ui/jobs?batch_id={batch['id']}" in one.text
    assert f"${batch['reserved_cost_usd']:.2f}" in told(one.text)
    for wrong in ("status=nonsense", "nonsense=1", "status=failed&status=completed"):
        assert (await browser.get(f"/ui/batches?{wrong}")).status_code == 400, wrong


async def test_a_batch_is_cancelled_and_retried_by_forms(api: Api) -> None:
    batch = (await new_batch(api, "a fox", "a hare"))["id"]
    browser = await signed_in(api)
    await browser.open(f"/ui/batches/{batch}")
    api.hints.sent.clear()

    nothing = await browser.send(f"/ui/batches/{batch}/retry", once="a")
    cancelled = await browser.send(f"/ui/batches/{batch}/cancel")
    (asked,) = await api.fetch("SELECT cancelled_at FROM batch WHERE id = %s", batch)

    assert nothing.status_code == 409
    assert (cancelled.status_code, cancelled.headers["Location"]) == (303, f"/ui/batches/{batch}")
    assert asked["cancelled_at"] is not None
    assert What.TALLY in {what for what, _ in api.hints.sent}

    (line,) = await api.fetch("SELECT min(batch_line) AS line FROM job WHERE batch_id = %s", batch)
    await api.fetch(FAILED, batch, line["line"])
    retried = await browser.send(f"/ui/batches/{batch}/retry", once="b")
    again = await browser.send(f"/ui/batches/{batch}/retry", once="b")
    more = await browser.send(f"/ui/batches/{batch}/retry", once="c", include_cancelled="maybe")

    assert retried.status_code == 303, retried.text
    assert retried.headers["Location"] == again.headers["Location"]
    assert more.status_code == 400
    (made,) = await api.fetch("SELECT id, lines FROM batch WHERE retry_of = %s", batch)
    assert retried.headers["Location"] == f"/ui/batches/{made['id']}"
    assert made["lines"] == 1


async def test_results_are_those_of_the_api_as_a_file(api: Api) -> None:
    batch = (await new_batch(api, "a fox", "a hare"))["id"]
    browser = await signed_in(api)

    answer = await browser.open(f"/ui/batches/{batch}/results?status=pending")
    of_api = await api.http.get(f"/v1/batches/{batch}/results?status=pending")

    assert answer.headers["Content-Disposition"] == f'attachment; filename="{batch}.jsonl"'
    assert answer.headers["Cache-Control"] == "no-store"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["job"]["prompt"] for line in lines] == ["a fox", "a hare"]
    assert len(lines) == len(of_api.text.splitlines())
    assert (await browser.get(f"/ui/batches/{batch}/results?status=nonsense")).status_code == 400


async def test_batches_are_a_tenants_own_and_readers_change_nothing(api: Api) -> None:
    batch = (await new_batch(api, "a fox", name="of acme"))["id"]
    await api.new_key("globex")
    stranger = await signed_in(api, "globex")
    reader = await signed_in(api, is_read_only=True)
    await api.front.engine.database.run(
        lambda connection: create_key(connection, "initech", is_admin=True)
    )
    admin = await signed_in(api, "initech", is_admin=True)

    assert "of acme" not in (await stranger.open("/ui/batches")).text
    for path in ("", "/results"):
        assert (await stranger.get(f"/ui/batches/{batch}{path}")).status_code == 404
    assert (await stranger.send(f"/ui/batches/{batch}/cancel")).status_code == 404
    assert (await reader.send(f"/ui/batches/{batch}/cancel")).status_code == 403
    assert "/cancel" not in (await reader.open(f"/ui/batches/{batch}")).text
    seen = await admin.open(f"/ui/batches/{batch}")
    assert "of acme" in seen.text
    assert "/cancel" not in seen.text
    assert (await admin.send(f"/ui/batches/{batch}/cancel")).status_code == 404
    (row,) = await api.fetch("SELECT cancelled_at FROM batch WHERE id = %s", batch)
    assert row["cancelled_at"] is None
