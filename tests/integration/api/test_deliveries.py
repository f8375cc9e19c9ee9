"""Webhook deliveries: listed with every try, replayable, and a tenant's own."""

import pytest

from models.verbs import What
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/webhooks/deliveries"
SECRET_QUERY = "token=a-token-that-is-nobodys-business"
URL = f"https://203.0.114.1:8443/hooks/video?{SECRET_QUERY}"


async def _delivered(api: Api) -> tuple[str, str]:
    """A cancelled job whose webhook was tried twice, and taken at the second try."""
    job = await api.submit(webhook_url=URL)
    await api.http.post(f"/v1/video/generations/{job['id']}/cancel")
    (row,) = await api.fetch("SELECT id FROM delivery WHERE job = %s", job["id"])
    for number, status in ((1, None), (2, 204)):
        await api.fetch(
            "INSERT INTO delivery_try (delivery, number, status, error, milliseconds) "
            "VALUES (%s, %s, %s, %s, 12)",
            *(row["id"], number, status, None if status else "connection refused"),
        )
    await api.fetch(
        "UPDATE delivery SET state = 'delivered', tries = 2, finished_at = now() WHERE id = %s",
        row["id"],
    )
    await api.fetch("DELETE FROM due WHERE what = 'deliver'")
    api.hints.sent.clear()
    return job["id"], row["id"]


async def test_a_delivery_is_listed_with_its_tries_and_without_its_query(api: Api) -> None:
    job_id, delivery_id = await _delivered(api)

    answer = await api.http.get(f"{PATH}?job_id={job_id}")

    (delivery,) = answer.json()["data"]
    assert delivery["id"] == delivery_id
    assert (delivery["job_id"], delivery["type"]) == (job_id, "video.cancelled")
    assert delivery["status"] == "delivered"
    assert delivery["url"] == "https://203.0.114.1:8443/hooks/video"
    tries = [(each["number"], each["status"], each["error"]) for each in delivery["tries"]]
    assert tries == [(1, None, "connection refused"), (2, 204, None)]
    assert delivery["next_try_at"] is None
    assert SECRET_QUERY not in answer.text


async def test_a_replay_makes_it_due_again(api: Api) -> None:
    job_id, delivery_id = await _delivered(api)

    answer = await api.http.post(f"{PATH}/{delivery_id}/replay")

    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    assert answer.json()["next_try_at"] is not None
    assert await api.fetch("SELECT id, lane, tenant FROM due WHERE what = 'deliver'") == [
        {"id": delivery_id, "lane": "203.0.114.1:8443", "tenant": "acme"}
    ]
    assert api.hints.sent == [(What.DELIVER, None)]
    (listed,) = (await api.http.get(f"{PATH}?job_id={job_id}")).json()["data"]
    assert len(listed["tries"]) == 2


async def test_a_replay_during_a_try_says_that_it_follows_it(api: Api) -> None:
    job = await api.submit(webhook_url=URL)
    await api.http.post(f"/v1/video/generations/{job['id']}/cancel")
    (row,) = await api.fetch("SELECT id FROM delivery")
    await api.fetch(
        "UPDATE due SET lease = gen_random_uuid(), at = now() + interval '30 s' "
        "WHERE what = 'deliver'"
    )

    answer = await api.http.post(f"{PATH}/{row['id']}/replay")

    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["status"], shown["next_try_at"]) == ("pending", None)
    assert (shown["try_under_way"], shown["replay_wanted"]) == (True, True)
    (held,) = await api.fetch("SELECT lease FROM due WHERE what = 'deliver'")
    assert held["lease"] is not None
    # A worker that died leaves a lease that ends: then the replay is the next try.
    await api.fetch("UPDATE due SET at = now() - interval '1 s' WHERE what = 'deliver'")
    shown = (await api.http.post(f"{PATH}/{row['id']}/replay")).json()
    assert (shown["try_under_way"], shown["replay_wanted"]) == (False, False)


async def test_another_tenant_sees_and_replays_nothing(api: Api) -> None:
    job_id, delivery_id = await _delivered(api)
    api.http.headers["Authorization"] = f"Bearer {await api.new_key('globex')}"

    assert (await api.http.get(f"{PATH}?job_id={job_id}")).json()["data"] == []
    for foreign in (delivery_id, "evt_nope", "%00"):
        answer = await api.http.post(f"{PATH}/{foreign}/replay")
        assert answer.status_code == 404
    assert (await api.fetch("SELECT state FROM delivery"))[0]["state"] == "delivered"


async def test_deliveries_come_in_pages_and_refuse_what_they_do_not_know(api: Api) -> None:
    ids = [(await _delivered(api))[1] for _ in range(3)]

    first = (await api.http.get(f"{PATH}?limit=2")).json()
    rest = (await api.http.get(f"{PATH}?limit=2&after={first['next']}")).json()

    listed = [each["id"] for each in first["data"] + rest["data"]]
    assert listed == sorted(ids, reverse=True)
    assert (first["has_more"], rest["has_more"], rest["next"]) == (True, False, None)
    wrong = await api.http.get(f"{PATH}?job=1")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "job")


async def test_an_event_of_no_job_has_no_job_id(api: Api) -> None:
    vault = api.front.engine.vault
    await api.fetch(
        "INSERT INTO delivery (id, tenant, type, host, state, target, body) "
        "VALUES ('evt_1', 'acme', 'batch.completed', 'hooks.test', 'exhausted', %s, %s)",
        *(vault.seal_json({"url": URL, "secret": None}), vault.seal(b"{}")),
    )

    (listed,) = (await api.http.get(PATH)).json()["data"]
    replayed = await api.http.post(f"{PATH}/evt_1/replay")

    assert (listed["job_id"], listed["status"]) == (None, "exhausted")
    assert (replayed.status_code, replayed.json()["job_id"]) == (202, None)
