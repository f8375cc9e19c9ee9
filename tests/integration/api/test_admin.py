"""Admins' keys: they read all tenants, pause accounts, and act for no tenant but their own."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from models.keys import create_key
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
JOBS = "/v1/video/generations"
PROVIDERS = "/v1/ops/providers"
SECRET = "whsec_" + "c2VjcmV0LW9mLWFjbWUtYWxvbmU="
URL = "https://203.0.114.1:8443/hooks/a-capability-in-the-path?token=and-one-in-the-query"
LISTS = (
    *(JOBS, "/v1/batches", "/v1/webhooks/deliveries", "/v1/gates", "/v1/intake/failed"),
    "/v1/usage",
)


@pytest.fixture
async def admin(api: Api) -> dict[str, str]:
    """The header of an admin's key of the tenant `ops`."""
    _, plain = await api.front.engine.database.run(
        lambda connection: create_key(connection, "ops", is_admin=True)
    )
    return {"Authorization": f"Bearer {plain}"}


async def has_ended(api: Api) -> dict[str, Any]:
    """A job of acme's whose webhook is due."""
    job = await api.submit(webhook_url=URL, webhook_secret=SECRET, metadata={"shot": "7"})
    assert (await api.http.post(f"{JOBS}/{job['id']}/cancel")).status_code == 200
    return job


async def test_an_admin_reads_another_tenants_job_and_hears_of_it(
    api: Api, admin: dict[str, str]
) -> None:
    job = await has_ended(api)

    read = await api.http.get(f"{JOBS}/{job['id']}", headers=admin)
    heard = await api.http.get(f"{JOBS}/{job['id']}/events", headers=admin)

    assert (read.status_code, read.json()["tenant"]) == (200, "acme")
    assert read.json()["metadata"] == {"shot": "7"}
    assert heard.status_code == 200
    assert f'"id":"{job["id"]}"' in heard.text
    assert "tenant" not in (await api.http.get(f"{JOBS}/{job['id']}")).json()


async def test_an_admin_reads_another_tenants_batch_with_its_results_and_events(
    api: Api, admin: dict[str, str]
) -> None:
    made = await api.http.post("/v1/batches", json=[{"prompt": "a fox"}, {"prompt": "a hare"}])
    batch = made.json()["id"]
    assert made.status_code == 202

    read = await api.http.get(f"/v1/batches/{batch}", headers=admin)
    results = await api.http.get(f"/v1/batches/{batch}/results", headers=admin)

    assert (read.status_code, read.json()["tenant"]) == (200, "acme")
    assert [json.loads(line)["line"] for line in results.text.splitlines()] == [1, 2]


async def test_a_list_is_the_admins_own_of_a_tenant_or_of_all(
    api: Api, admin: dict[str, str]
) -> None:
    job = await has_ended(api)
    globex = {"Authorization": f"Bearer {await api.new_key('globex')}"}
    other = (await api.http.post(JOBS, json={"prompt": "a hare"}, headers=globex)).json()["id"]

    async def listed(**query: str) -> list[tuple[str, str]]:
        answer = await api.http.get(JOBS, headers=admin, params=query)
        assert answer.status_code == 200, answer.text
        return [(each["id"], each["tenant"]) for each in answer.json()["data"]]

    assert await listed() == []
    assert await listed(tenant="acme") == [(job["id"], "acme")]
    assert await listed(tenant="*") == [(other, "globex"), (job["id"], "acme")]
    assert await listed(tenant="*", status="cancelled") == [(job["id"], "acme")]
    assert await listed(tenant="*", after=other) == [(job["id"], "acme")]
    assert await listed(tenant="nobody") == []


async def test_usage_is_told_of_all_tenants_by_tenant(api: Api, admin: dict[str, str]) -> None:
    await has_ended(api)

    answer = await api.http.get(
        "/v1/usage", headers=admin, params={"tenant": "*", "group_by": "tenant"}
    )

    assert [(each["tenant"], each["cancelled"]) for each in answer.json()["data"]] == [("acme", 1)]


@pytest.mark.parametrize("path", LISTS)
async def test_a_tenants_key_reads_its_own_tenant_only(api: Api, path: str) -> None:
    assert (await api.http.get(path, params={"tenant": "acme"})).status_code == 200
    for tenant in ("globex", "*"):
        answer = await api.http.get(path, params={"tenant": tenant})
        assert answer.status_code == 401
        assert "admin key" in answer.json()["error"]["message"]
    bad = await api.http.get(path, params={"tenant": "a b"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "tenant")


@pytest.mark.parametrize("path", LISTS)
async def test_an_admin_reads_every_list_of_all_tenants(
    api: Api, admin: dict[str, str], path: str
) -> None:
    for tenant in ("acme", "*"):
        answer = await api.http.get(path, headers=admin, params={"tenant": tenant})
        assert answer.status_code == 200, answer.text


async def test_an_admin_is_told_nothing_that_is_sealed(api: Api, admin: dict[str, str]) -> None:
    job = await has_ended(api)

    told = [
        await api.http.get(f"{JOBS}/{job['id']}", headers=admin),
        await api.http.get(f"{JOBS}/{job['id']}/events", headers=admin),
        *[await api.http.get(path, headers=admin, params={"tenant": "*"}) for path in LISTS],
    ]

    texts = " ".join(each.text for each in told)
    assert all(each.status_code == 200 for each in told)
    for secret in (SECRET, "a-capability-in-the-path", "and-one-in-the-query", api.key):
        assert secret not in texts
    (delivery,) = told[LISTS.index("/v1/webhooks/deliveries") + 2].json()["data"]
    assert (delivery["url"], delivery["tenant"]) == ("203.0.114.1:8443", "acme")


async def test_an_admin_acts_for_no_other_tenant(api: Api, admin: dict[str, str]) -> None:
    job = await api.submit(webhook_url=URL)
    batch = (await api.http.post("/v1/batches", json=[{"prompt": "a fox"}])).json()["id"]

    for method, path in (
        ("POST", f"{JOBS}/{job['id']}/cancel"),
        ("POST", f"{JOBS}/{job['id']}/retry"),
        ("DELETE", f"{JOBS}/{job['id']}"),
        ("POST", f"/v1/batches/{batch}/cancel"),
        ("POST", f"/v1/batches/{batch}/retry"),
    ):
        answer = await api.http.request(method, path, headers=admin)
        assert answer.status_code == 404, f"{method} {path}"
    made = await api.http.post(JOBS, json={"prompt": "a hare"}, headers=admin)
    (row,) = await api.fetch("SELECT tenant FROM job WHERE id = %s", made.json()["id"])
    assert row["tenant"] == "ops"


async def test_accounts_are_listed_paused_and_resumed_by_admins_alone(
    api: Api, admin: dict[str, str]
) -> None:
    of_tenant = await api.http.post(f"{PROVIDERS}/runway/pause")
    assert (await api.http.get(PROVIDERS)).status_code == 401
    with capture_logs() as logs:
        paused = await api.http.post(
            f"{PROVIDERS}/runway:plain/pause",
            headers=admin,
            json={"seconds": 60, "reason": "the vendor is down"},
        )
        resumed = await api.http.post(f"{PROVIDERS}/runway/resume", headers=admin)
    listed = (await api.http.get(PROVIDERS, headers=admin)).json()["data"]

    assert of_tenant.status_code == 401
    (shown,) = paused.json()["data"]
    assert (shown["account"], shown["pause_reason"]) == ("runway", "the vendor is down")
    assert shown["paused_at"] < shown["paused_until"]
    assert resumed.json()["data"][0]["paused_at"] is None
    assert [each["account"] for each in listed] == ["runway"]
    events = [
        (each["event"], each["account"], each["by_tenant"]) for each in logs if "account" in each
    ]
    assert events == [
        ("account.paused", "runway:plain", "ops"),
        ("account.resumed", "runway", "ops"),
    ]


async def test_a_resume_makes_due_what_waited(api: Api, admin: dict[str, str]) -> None:
    await api.submit()
    await api.fetch("UPDATE attempt SET waits_for = 'paused', waits_since = now()")
    await api.fetch("UPDATE due SET at = now() + interval '1 h' WHERE what = 'submit'")
    await api.http.post(f"{PROVIDERS}/runway/pause", headers=admin)

    assert (await api.http.post(f"{PROVIDERS}/runway/resume", headers=admin)).status_code == 200

    assert await api.fetch("SELECT at <= now() AS is_due FROM due WHERE what = 'submit'") == [
        {"is_due": True}
    ]


@pytest.mark.parametrize(
    ("account", "body", "message"),
    [
        ("nobody", {}, "there is no account 'nobody'; the known ones are runway"),
        ("runway", {"seconds": 0}, "seconds should be greater than or equal to 1"),
        ("runway", {"until": "noon"}, "until is not a known field; known: seconds, reason"),
        ("runway", [], "the request body must be a JSON object"),
    ],
)
async def test_a_wrong_pause_is_refused_by_name(
    api: Api, admin: dict[str, str], account: str, body: object, message: str
) -> None:
    answer = await api.http.post(f"{PROVIDERS}/{account}/pause", headers=admin, json=body)

    assert answer.status_code == (404 if account == "nobody" else 400)
    assert answer.json()["error"]["message"].startswith(message)


async def test_a_cap_is_set_and_removed_by_admins_alone(api: Api, admin: dict[str, str]) -> None:
    path, cap = f"{PROVIDERS}/runway/cap", {"cap_usd": 12.5, "cap_period": "month"}
    of_tenant = [await api.http.put(path, json=cap), await api.http.delete(path)]
    with capture_logs() as logs:
        was_set = await api.http.put(f"{PROVIDERS}/runway:plain/cap", headers=admin, json=cap)
        changed = await api.http.put(path, headers=admin, json=cap | {"cap_usd": 250})
        removed = [await api.http.delete(path, headers=admin) for _ in range(2)]

    assert [each.status_code for each in of_tenant] == [401, 401]
    (shown,) = was_set.json()["data"]
    assert (shown["account"], shown["cap_usd"], shown["cap_period"]) == ("runway", 12.5, "month")
    assert changed.json()["data"][0]["cap_usd"] == 250
    for each in removed:
        assert each.status_code == 200
        assert each.json()["data"][0]["cap_usd"] is None
    assert await api.fetch("SELECT name FROM account_rule") == []
    events = [(each["event"], each.get("cap_usd")) for each in logs if "account" in each]
    assert events == [
        ("account.capped", 12.5),
        ("account.capped", 250),
        *(("account.uncapped", None),) * 2,
    ]
    assert all(each["by_tenant"] == "ops" for each in logs if "account" in each)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_raised_or_removed_cap_makes_due_what_waited(
    api: Api, admin: dict[str, str], method: str
) -> None:
    path, cap = f"{PROVIDERS}/runway/cap", {"cap_usd": 0.000001, "cap_period": "total"}
    await api.submit()
    assert (await api.http.put(path, headers=admin, json=cap)).status_code == 200
    await api.fetch("UPDATE attempt SET waits_for = 'capped', waits_since = now()")
    await api.fetch("UPDATE due SET at = now() + interval '1 h' WHERE what = 'submit'")

    body = cap | {"cap_usd": 1000} if method == "PUT" else None
    answer = await api.http.request(method, path, headers=admin, json=body)

    assert answer.status_code == 200
    assert await api.fetch("SELECT at <= now() AS is_due FROM due WHERE what = 'submit'") == [
        {"is_due": True}
    ]


@pytest.mark.parametrize(
    ("account", "body", "message"),
    [
        ("nobody", {"cap_usd": 1, "cap_period": "day"}, "there is no account 'nobody'"),
        ("runway", {"cap_usd": 0, "cap_period": "day"}, "cap_usd should be greater than 0"),
        ("runway", {"cap_usd": "1", "cap_period": "day"}, "cap_usd"),
        ("runway", {"cap_usd": 0.0000001, "cap_period": "day"}, "cap_usd must be US dollars"),
        ("runway", {"cap_usd": 1, "cap_period": "week"}, "cap_period"),
        ("runway", {"cap_usd": 1}, "cap_period"),
        ("runway", {"cap_usd": 1, "cap_period": "day", "x": 1}, "x is not a known field"),
        ("runway", [], "the request body must be a JSON object"),
    ],
)
async def test_a_wrong_cap_is_refused_by_name(
    api: Api, admin: dict[str, str], account: str, body: object, message: str
) -> None:
    answer = await api.http.put(f"{PROVIDERS}/{account}/cap", headers=admin, json=body)

    assert answer.status_code == (404 if account == "nobody" else 400)
    assert answer.json()["error"]["message"].startswith(message)
    assert await api.fetch("SELECT name FROM account_rule") == []
    gone = await api.http.delete(f"{PROVIDERS}/nobody/cap", headers=admin)
    assert gone.status_code == 404
