"""Invalid keys and tokens are throttled by address, and never block a valid one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.streams import Streams
from models.keys import create_key, new_plain_key
from settings import load
from tests.integration.api.conftest import ENVIRONMENT, Api, Hints

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"


class House:
    """An application, asked from addresses of one's choice."""

    def __init__(self, app: httpx.ASGITransport, key: str) -> None:
        self._app = app.app
        self.key = key

    async def get(
        self, key: str | None, *, of: str = "203.0.113.7", through: str | None = None
    ) -> httpx.Response:
        headers = {"X-Forwarded-For": through} if through else {}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return await self.send("GET", PATH, of=of, headers=headers)

    async def send(
        self, method: str, path: str, *, of: str, headers: dict[str, str]
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, client=(of, 4711), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
            return await http.request(method, path, headers=headers)


@asynccontextmanager
async def house(database_url: str, folder: Path, **settings: str) -> AsyncIterator[House]:
    own = {
        "LONGTAKE_DATABASE_URL": database_url,
        "LONGTAKE_DATA_DIR": str(folder),
        "LONGTAKE_INVALID_KEYS_PER_MINUTE": "3",
    }
    app = create_app(load(ENVIRONMENT | own | settings), hinter=Hints)
    async with app.router.lifespan_context(app):
        database = app.state.front.engine.database
        _, key = await database.run(lambda connection: create_key(connection, "acme"))
        yield House(httpx.ASGITransport(app), key)


@pytest.fixture
async def direct(database_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[House]:
    async with house(database_url, tmp_path) as made:
        yield made


@pytest.fixture
async def behind(database_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[House]:
    async with house(database_url, tmp_path, LONGTAKE_TRUSTED_PROXIES="10.0.0.0/8") as made:
        yield made


async def test_invalid_keys_are_429_after_a_while_and_valid_ones_of_the_same_address_are_taken(
    direct: House,
) -> None:
    for wrong in (new_plain_key(), "lt_short", new_plain_key()):
        assert (await direct.get(wrong)).status_code == 401

    refused = await direct.get(new_plain_key())

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "too_many_invalid_keys"
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    # A valid key, seen before or not, and other addresses still work
    assert (await direct.get(direct.key)).status_code == 200
    assert (await direct.get(direct.key)).status_code == 200
    assert (await direct.get(new_plain_key())).status_code == 429
    assert (await direct.get(new_plain_key(), of="203.0.113.8")).status_code == 401
    # A missing key does not count as invalid
    assert (await direct.get(None)).status_code == 401


async def test_the_rest_of_a_large_body_of_a_stranger_is_not_received(direct: House) -> None:
    sends = {"Content-Length": "300000", "Authorization": f"Bearer {new_plain_key()}"}
    for path, headers, status in (
        (PATH, sends, 401),
        ("/callbacks/fal/" + "0" * 26, sends, 404),
        (PATH, sends | {"Authorization": f"Bearer {direct.key}"}, 400),
    ):
        answer = await direct.send("POST", path, of="203.0.113.7", headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("Connection") == (None if status == 400 else "close")


async def test_invalid_tokens_of_callbacks_count_like_invalid_keys(direct: House) -> None:
    for status in (404, 404, 404, 429):
        answer = await direct.send(
            "POST", "/callbacks/fal/" + "0" * 26, of="203.0.113.7", headers={}
        )
        assert answer.status_code == status
    assert (await direct.get(new_plain_key())).status_code == 429


async def test_behind_a_trusted_proxy_the_forwarded_address_counts(behind: House) -> None:
    for status in (401, 401, 401, 429):
        answer = await behind.get(new_plain_key(), of="10.0.0.1", through="198.51.100.1")
        assert answer.status_code == status

    other = await behind.get(new_plain_key(), of="10.0.0.1", through="198.51.100.2")
    # What a client writes itself stands further left
    same = await behind.get(new_plain_key(), of="10.0.0.2", through="1.1.1.1, 198.51.100.1")
    assert (other.status_code, same.status_code) == (401, 429)


async def test_nobody_else_is_believed_an_address(behind: House) -> None:
    for status in (401, 401, 401, 429):
        answer = await behind.get(new_plain_key(), of="203.0.113.7", through="198.51.100.1")
        assert answer.status_code == status

    assert (
        await behind.get(new_plain_key(), of="203.0.113.7", through="198.51.100.9")
    ).status_code == 429
    assert (
        await behind.get(new_plain_key(), of="10.0.0.1", through="198.51.100.1")
    ).status_code == 401


async def test_addresses_of_one_network_of_ipv6_are_one_client(direct: House) -> None:
    for of, status in (
        *(("2001:db8::1", 401), ("2001:db8::2", 401), ("2001:db8::3", 401)),
        *(("2001:db8::4", 429), ("2001:db8:0:1::1", 401)),
    ):
        assert (await direct.get(new_plain_key(), of=of)).status_code == status


async def test_open_calls_take_places_of_the_tenants_streams_before_anything_is_paid(
    api: Api,
) -> None:
    api.front.streams = Streams(most=2, most_of_a_tenant=1)
    with api.front.streams.place("acme"):
        answer = await api.http.post(
            "/layer/v3/video", json={"gateId": "any", "data": {"prompt": "a fox"}}
        )

    assert answer.status_code == 429
    assert "open streams and calls" in answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await api.counts())["job"] == 0
