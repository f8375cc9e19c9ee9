"""Keys: nothing is told without a good one, and nothing of another tenant with any."""

import re
import string
import zlib
from datetime import datetime
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from api.app import ROUTERS
from api.auth import REMEMBERED, Keyring
from models.database import Database
from models.failure import RequestRefused
from models.keys import (
    USE_WRITTEN_EVERY,
    checksum,
    create_key,
    find_key,
    key_hash,
    list_keys,
    new_plain_key,
    revoke_key,
    valid_keys,
)
from tasks import history
from tests.integration.api.conftest import Api, other_settings

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


def test_a_key_ends_with_the_checksum_of_its_random_characters() -> None:
    plain = new_plain_key()

    assert re.fullmatch(r"lt_[a-z2-7]{32}[0-9A-Za-z]{6}", plain)
    assert plain.endswith(checksum(plain[3:35]))
    assert checksum("a" * 32) == _in_base_62(zlib.crc32(b"a" * 32))


def _in_base_62(number: int) -> str:
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    return "".join(digits[number // 62**place % 62] for place in range(5, -1, -1))


async def test_a_wrong_checksum_is_refused_without_a_look_up() -> None:
    nowhere = Database("postgresql://127.0.0.1:9/none", timeout=0.1)
    plain = new_plain_key()
    wrong = plain[:3] + ("b" if plain[3] == "a" else "a") + plain[4:]

    with pytest.raises(RequestRefused, match="checksum"):
        await Keyring(nowhere).identify(f"Bearer {wrong}")
    await nowhere.close()


async def test_an_older_key_without_a_checksum_stays_valid(api: Api) -> None:
    older = f"lt_{'a' * 32}"
    await api.fetch("UPDATE api_key SET hash = %s", key_hash(older))

    answer = await api.http.get(PATH, headers={"Authorization": f"Bearer {older}"})

    assert answer.status_code == 200


async def test_an_expired_key_is_401_and_says_so(api: Api) -> None:
    database = api.front.engine.database
    _, plain = await database.run(lambda connection: create_key(connection, "acme", lives=60))
    keyring = Keyring(database)
    assert (await keyring.identify(f"Bearer {plain}")).tenant == "acme"
    await api.fetch(
        "UPDATE api_key SET expires_at = now() - interval '1 s' WHERE expires_at > now()"
    )

    answer = await api.http.get(PATH, headers={"Authorization": f"Bearer {plain}"})

    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["code"] == "key_expired"
    assert error["message"].startswith("the API key expired at 20")


async def test_a_stream_ends_once_its_key_has_expired(api: Api) -> None:
    job = (await api.submit())["id"]
    (key,) = await api.fetch("SELECT id FROM api_key")
    engine = api.front.engine
    asked = history.Asked(job=job, after=0, key=key["id"])
    assert not (await history.look(engine, [asked]))[asked].is_gone

    await api.fetch("UPDATE api_key SET expires_at = now()")

    assert (await history.look(engine, [asked]))[asked].is_gone
    assert await engine.database.run(lambda on: valid_keys(on, [key["id"]])) == set()


async def test_a_keys_last_use_is_written_once_a_minute(api: Api) -> None:
    database = api.front.engine.database
    now = 1000.0
    keyring = Keyring(database, clock=lambda: now)

    async def use_and_write() -> datetime | None:
        await keyring.identify(f"Bearer {api.key}")
        await keyring.uses.write()
        (listed,) = await database.run(list_keys)
        return listed.last_used_at

    (unused,) = await database.run(list_keys)
    assert unused.last_used_at is None
    first = await use_and_write()
    assert first is not None
    now += USE_WRITTEN_EVERY - 1
    assert await use_and_write() == first
    # In another process, whose memory is its own, nothing is written within the minute either.
    keyring = Keyring(database, clock=lambda: now)
    assert await use_and_write() == first
    await api.fetch("UPDATE api_key SET last_used_at = last_used_at - interval '61 s'")
    now += 1 + USE_WRITTEN_EVERY
    assert first <= (await use_and_write() or first)
    (listed,) = await database.run(list_keys)
    assert listed.last_used_at is not None
    assert listed.last_used_at >= first


async def test_an_api_process_writes_last_uses_when_it_ends(
    database_url: str, tmp_path: Path
) -> None:
    async with other_settings(database_url, tmp_path) as http:
        assert (await http.get(PATH)).status_code == 200

    database = Database(database_url)
    (listed,) = await database.run(list_keys)
    await database.close()
    assert listed.last_used_at is not None


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
