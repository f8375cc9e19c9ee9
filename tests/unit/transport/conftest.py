import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.unit.transport.raw_server import RawServer
from transport.base import Client, Sender
from transport.exact import ExactClient
from transport.fast import FastClient
from transport.getter import Getter


@pytest.fixture(
    params=[("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture
async def server(anyio_backend: object) -> AsyncIterator[RawServer]:
    server = RawServer()
    await server.open()
    yield server
    await server.close()


@pytest.fixture(params=[ExactClient, FastClient.trusted], ids=["exact", "fast"])
async def client(request: pytest.FixtureRequest, anyio_backend: object) -> AsyncIterator[Client]:
    client: Client = request.param()
    yield client
    await client.close()


@pytest.fixture(params=[ExactClient, FastClient.trusted, Getter], ids=["exact", "fast", "getter"])
async def getter(request: pytest.FixtureRequest, anyio_backend: object) -> AsyncIterator[Sender]:
    """Every client that sends GETs."""
    sender: Sender = request.param()
    yield sender
    await sender.close()


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue is full, so that a connection to it neither stands nor fails."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.settimeout(0)
            caller.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
        for caller in callers:
            caller.close()
