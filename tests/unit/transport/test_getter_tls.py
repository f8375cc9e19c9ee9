"""The getter over TLS: whom it believes, and what it says of others."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.transport.name_server import name_server
from tests.unit.transport.raw_server import RawServer
from tests.unit.transport.tls import Authority
from transport.base import NotSent, Request, Sender
from transport.fast import FastClient
from transport.getter import Getter

pytestmark = pytest.mark.anyio


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that the system trusts."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@asynccontextmanager
async def serving(authority: Authority, *names: str, expired: bool = False) -> AsyncIterator[str]:
    server = RawServer()
    await server.open(tls=authority.server(*names, expired=expired))
    server.behave = server.answer(b'{"status": "RUNNING"}')
    yield f"https://127.0.0.1:{server.port}"
    assert server.requests or expired or "127.0.0.1" not in names
    await server.close()


async def fetched(url: str, *, times: int = 1, name_servers: tuple[str, ...] = ()) -> list[int]:
    getter = Getter(name_servers=name_servers)
    try:
        return [
            (await getter.send(Request(method="GET", url=f"{url}/{n}", timeout=5))).status
            for n in range(times)
        ]
    finally:
        await getter.close()


async def test_a_certificate_of_the_systems_store_is_believed(
    authority: Authority, anyio_backend: object
) -> None:
    async with serving(authority, "127.0.0.1") as url:
        assert await fetched(url, times=3) == [200, 200, 200]


async def test_a_name_is_checked_against_the_certificate(
    authority: Authority, anyio_backend: object
) -> None:
    async with (
        name_server({"vendor.example": "127.0.0.1", "other.example": "127.0.0.1"}) as names,
        serving(authority, "vendor.example") as url,
    ):
        port = url.rpartition(":")[2]
        servers = (names.address,)
        assert await fetched(f"https://vendor.example:{port}", name_servers=servers) == [200]
        with pytest.raises(NotSent, match="certificate"):
            await fetched(f"https://other.example:{port}", name_servers=servers)


@pytest.mark.parametrize("names", [("127.0.0.2",), ("localhost",)])
async def test_a_certificate_of_another_name_is_not_sent_a_request(
    authority: Authority, anyio_backend: object, names: tuple[str, ...]
) -> None:
    async with serving(authority, *names) as url:
        with pytest.raises(NotSent, match="certificate"):
            await fetched(url)


async def test_an_expired_certificate_is_not_sent_a_request(
    authority: Authority, anyio_backend: object
) -> None:
    async with serving(authority, "127.0.0.1", expired=True) as url:
        with pytest.raises(NotSent, match="expired"):
            await fetched(url)


@pytest.mark.parametrize("make", [Getter, FastClient.trusted], ids=["getter", "fast"])
async def test_an_authority_that_the_system_does_not_know_is_not_believed(
    tmp_path: Path, anyio_backend: object, make: Callable[[], Sender]
) -> None:
    server = RawServer()
    await server.open(tls=Authority(tmp_path).server("127.0.0.1"))
    client = make()
    with pytest.raises(NotSent):
        await client.send(Request(method="GET", url=f"https://127.0.0.1:{server.port}/"))
    assert not server.requests
    await client.close()
    await server.close()
