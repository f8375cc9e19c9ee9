"""Keys: nothing is told without a good one, and nothing of another tenant with any."""

import pytest
from fastapi.routing import APIRoute

from api.app import ROUTERS
from api.auth import REMEMBERED, Keyring
from models.failure import RequestRefused
from models.keys import create_key, find_key, list_keys, new_plain_key, revoke_key
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"
#: `/metrics` is open to this machine alone; test_metrics.py shows who else gets it.
OPEN = {"/healthz", "/readyz", "/metrics", "/callbacks/{provider}/{token}"}


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer lt_short",
        "Bearer " + "x" * 5000,
        "Basic dXNlcjpwYXNz",
        pytest.param(f"Bearer {new_plain_key()}", id="unknown"),
        pytest.param(f"Bearer {new_plain_key().upper()}", id="unknown, in capitals"),
        "Bearer lt_\xe9" + "a" * 31,
    ],
)
async def test_a_bad_key_is_401_in_our_shape(api: Api, authorization: str | None) -> None:
    del api.http.headers["Authorization"]
    given = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]

    answer = await api.http.post(PATH, json={"prompt": "a"}, headers=given)

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await api.counts())["job"] == 0


async def test_every_route_but_the_open_ones_wants_a_key(api: Api) -> None:
    del api.http.headers["Authorization"]
    routes = [route for router in ROUTERS for route in router.routes]
    closed = [route for route in routes if isinstance(route, APIRoute) and route.path not in OPEN]
    assert len(closed) == len(routes) - len(OPEN)
    for route in closed:
        for method in route.methods or ():
            named = dict.fromkeys(route.param_convertors, "x") | {"index": "0"}
            answer = await api.http.request(method, route.path.format(**named))
            assert answer.status_code == 401, f"{method} {route.path}"


async def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    answer = await api.http.get(PATH, headers={"Authorization": f"bearer {api.key}"})

    assert answer.status_code == 200


async def test_foreign_jobs_can_be_neither_read_nor_listed_nor_cancelled(api: Api) -> None:
    job = await api.submit()
    api.http.headers["Authorization"] = f"Bearer {await api.new_key('globex')}"

    for method, path in (
        ("GET", f"{PATH}/{job['id']}"),
        ("POST", f"{PATH}/{job['id']}/cancel"),
        ("GET", f"{PATH}/{job['id']}/content"),
        ("GET", f"{PATH}/{job['id']}/content/0"),
    ):
        answer = await api.http.request(method, path)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "Video generation job not found"
    assert (await api.http.get(PATH)).json()["data"] == []
    assert (await api.fetch("SELECT state FROM job"))[0]["state"] == "pending"


async def test_a_remembered_key_costs_no_look_up_and_a_revoked_one_ends_in_seconds(
    api: Api,
) -> None:
    database = api.front.engine.database
    now = 1000.0
    keyring = Keyring(database, clock=lambda: now)
    id_, plain = await database.run(lambda connection: create_key(connection, "acme"))
    assert (await keyring.identify(f"Bearer {plain}")).tenant == "acme"

    assert await database.run(lambda connection: revoke_key(connection, id_))
    now += REMEMBERED - 0.1
    assert (await keyring.identify(f"Bearer {plain}")).id == id_
    now += 0.2
    with pytest.raises(RequestRefused, match="revoked"):
        await keyring.identify(f"Bearer {plain}")


async def test_keys_are_listed_by_prefix_and_revoked_once(api: Api) -> None:
    database = api.front.engine.database

    id_, plain = await database.run(
        lambda connection: create_key(connection, "globex", is_admin=True)
    )

    found = await database.run(lambda connection: find_key(connection, plain))
    assert found is not None
    assert (found.tenant, found.is_admin) == ("globex", True)
    (listed,) = await database.run(lambda connection: list_keys(connection, "globex"))
    assert plain.startswith(listed.prefix)
    assert len(listed.prefix) < 12
    assert await database.run(lambda connection: revoke_key(connection, id_))
    assert not await database.run(lambda connection: revoke_key(connection, id_))
    assert await database.run(lambda connection: find_key(connection, plain)) is None
    stored = await api.fetch("SELECT string_agg(to_jsonb(api_key)::text, '') AS all FROM api_key")
    assert plain not in stored[0]["all"]


@pytest.mark.parametrize("tenant", ["", "a b", "-a", "x" * 65, "a\x00"])
async def test_a_tenant_has_a_plain_name(api: Api, tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant's name"):
        await api.front.engine.database.run(lambda connection: create_key(connection, tenant))
