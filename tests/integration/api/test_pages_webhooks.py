"""The page of webhooks: state filters, tries, replay, and receivers with open breakers."""

import pytest

from models.keys import create_key
from models.verbs import What
from tests.integration.api.browsing import signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import URL, told

pytestmark = pytest.mark.anyio
TRY = (
    "INSERT INTO delivery_try (delivery, number, status, error, milliseconds) "
    "VALUES (%s, 1, NULL, 'connection <b>refused</b>', 12)"
)
OPEN = """
INSERT INTO receiver (tenant, host, failures, trips, open_until, is_prompt)
VALUES ('acme', '203.0.114.1:8443', 7, 1, now() + interval '1 minute', false)
"""


async def delivery_of(api: Api) -> str:
    """A delivery that ran out of tries."""
    job = (await api.submit(webhook_url=URL))["id"]
    await api.http.post(f"/v1/video/generations/{job}/cancel")
    (row,) = await api.fetch("SELECT id FROM delivery WHERE job = %s", job)
    await api.fetch(TRY, row["id"])
    await api.fetch(
        "UPDATE delivery SET state = 'exhausted', finished_at = now() WHERE id = %s", row["id"]
    )
    await api.fetch("DELETE FROM due WHERE what = 'deliver' AND id = %s", row["id"])
    return str(row["id"])


async def test_deliveries_are_listed_by_state_with_their_tries(api: Api) -> None:
    exhausted = await delivery_of(api)
    browser = await signed_in(api)

    every = await browser.open("/ui/webhooks")
    those = await browser.open("/ui/webhooks?status=exhausted&job_id=&batch_id=")
    others = await browser.open("/ui/webhooks?status=delivered")

    assert exhausted in every.text
    assert "connection &lt;b&gt;refused&lt;/b&gt;" in those.text
    assert "nobodys-business" not in those.text
    assert exhausted not in others.text
    assert "No delivery matches" in others.text
    for wrong in ("status=nonsense", "nonsense=1", "limit=1000"):
        assert (await browser.get(f"/ui/webhooks?{wrong}")).status_code == 400, wrong


async def test_the_api_takes_the_same_state_filter(api: Api) -> None:
    exhausted = await delivery_of(api)

    found = await api.http.get("/v1/webhooks/deliveries?status=exhausted")
    none = await api.http.get("/v1/webhooks/deliveries?status=pending")
    wrong = await api.http.get("/v1/webhooks/deliveries?status=nonsense")

    assert [each["id"] for each in found.json()["data"]] == [exhausted]
    assert none.json()["data"] == []
    assert wrong.status_code == 400
    assert "pending, delivered, gone, exhausted (it is nonsense)" in wrong.text


async def test_a_replay_makes_the_delivery_due_and_is_the_owners_alone(api: Api) -> None:
    delivery = await delivery_of(api)
    await api.new_key("globex")
    stranger = await signed_in(api, "globex")
    reader = await signed_in(api, is_read_only=True)
    path = f"/ui/webhooks/{delivery}/replay"

    assert delivery not in (await stranger.open("/ui/webhooks")).text
    assert (await stranger.send(path)).status_code == 404
    assert "/replay" not in (await reader.open("/ui/webhooks")).text
    assert (await reader.send(path)).status_code == 403
    (before,) = await api.fetch("SELECT state FROM delivery")
    assert before["state"] == "exhausted"

    owner = await signed_in(api)
    await owner.open("/ui/webhooks")
    api.hints.sent.clear()
    answer = await owner.send(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/ui/webhooks?job_id=")
    assert What.DELIVER in {what for what, _ in api.hints.sent}
    (after,) = await api.fetch("SELECT state FROM delivery")
    assert after["state"] == "pending"


async def test_operators_see_open_breakers_and_no_paths_of_others(api: Api) -> None:
    delivery = await delivery_of(api)
    await api.fetch(OPEN)
    await api.front.engine.database.run(
        lambda connection: create_key(connection, "ops", is_admin=True)
    )
    owner = await (await signed_in(api)).open("/ui/webhooks")
    admin = await (await signed_in(api, "ops", is_admin=True)).open("/ui/webhooks")

    assert "Breaker" not in told(owner.text)
    assert "failed several times in a row for 1 tenant" in told(admin.text)
    assert delivery in admin.text
    assert "/hooks/video" in owner.text
    assert "/hooks/video" not in admin.text
    assert "/replay" not in admin.text
