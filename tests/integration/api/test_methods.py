"""HEAD and the framing of requests, over real sockets: what a server says besides its bodies."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from api.app import create_app
from models.keys import create_key
from settings import Settings
from tests.integration.api.conftest import Api, Hints
from tests.integration.api.shapes import IN_PATHS
from tests.integration.engine.waiting import until

pytestmark = pytest.mark.anyio
PATH = "/v1/video/generations"
#: Headers that may differ from one answer to the next: a job tells times, which have no fixed
#: length. The length that HEAD tells is compared below, of a list.
OWN = {"x-request-id", "date", "content-length"}


async def test_head_answers_every_get_with_its_status_and_headers_and_no_body(
    api: Api, subtests: pytest.Subtests
) -> None:
    job = await api.submit()
    document = (await api.http.get("/openapi.json")).json()
    gets = [path for path, operations in document["paths"].items() if "get" in operations]
    assert len(gets) > 20
    names = dict.fromkeys(("gate", "batch_id", "run_id", "operation_id", "video_id"), "nothing")
    given = {"job_id": job["id"], "index": "0", **IN_PATHS, **names}

    for path in ("/openapi.json", *gets):
        url = path.format_map(given)
        if path == f"{PATH}/{{job_id}}/events":
            continue  # a GET of it does not end: test_events.py
        with subtests.test(msg=path):
            got = await api.http.get(url)
            headed = await api.http.head(url)

            assert headed.status_code == got.status_code
            assert headed.content == b""
            assert _told(headed.headers) == _told(got.headers)
            assert ("content-length" in headed.headers) == ("content-length" in got.headers)


def _told(headers: object) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name not in OWN}  # type: ignore[call-overload]


async def test_head_of_a_route_without_get_is_405(api: Api) -> None:
    answer = await api.http.head("/layer/v3/video")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


class Wire:
    """A connection whose bytes are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *lines: str, body: str = "") -> None:
        self._writer.write(("\r\n".join((*lines, "", "")) + body).encode())
        await self._writer.drain()

    async def rest(self) -> str:
        """All that comes until the server closes."""
        async with asyncio.timeout(30):
            return (await self._reader.read()).decode()

    async def answer(self) -> tuple[str, str]:
        """The next response's head, and its body by its Content-Length."""
        async with asyncio.timeout(30):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (
                    int(line.partition(":")[2])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            return head, (await self._reader.readexactly(length)).decode()


@pytest.fixture
async def wire(api_settings: Settings, anyio_backend: str) -> AsyncIterator[tuple[Wire, str]]:
    """A connection to the API on a real socket, and a key."""
    app = create_app(api_settings, hinter=Hints)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, http="h11", ws="none", lifespan="on"
        )
        server = uvicorn.Server(config)
        serves = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started or serves.done(), within=60)
        database = app.state.front.engine.database
        _, key = await database.run(lambda connection: create_key(connection, "acme"))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        try:
            yield Wire(reader, writer), key
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            server.should_exit = True
            await serves


SMUGGLED = "GET /healthz HTTP/1.1\r\nHost: api.test\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 6", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 6"),
        ("Transfer-Encoding: Chunked", "content-length: 0"),
    ],
)
async def test_two_lengths_are_400_and_what_follows_is_never_read(
    wire: tuple[Wire, str], headers: tuple[str, str]
) -> None:
    connection, key = wire
    first = (f"POST {PATH} HTTP/1.1", "Host: api.test", f"Authorization: Bearer {key}", *headers)

    await connection.send(*first, body="0\r\n\r\n" + SMUGGLED)
    told = await connection.rest()

    assert told.startswith("HTTP/1.1 400 ")
    assert told.count("HTTP/1.1 ") == 1
    assert "ambiguous_length" in told
    assert "connection: close" in told.lower()


async def test_transfer_encoding_in_http_1_0_is_400(wire: tuple[Wire, str]) -> None:
    connection, _ = wire
    lines = (f"POST {PATH} HTTP/1.0", "Host: api.test", "Transfer-Encoding: chunked")

    await connection.send(*lines, body="0\r\n\r\n" + SMUGGLED)
    told = await connection.rest()

    assert " 400 " in told.splitlines()[0]
    assert told.count("HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 6",),
        ("Content-Length: -1",),
        ("Content-Length: +5",),
        ("Content-Length: 5_0",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, identity",),
    ],
)
async def test_a_length_that_is_none_is_refused_and_the_connection_closed(
    wire: tuple[Wire, str], headers: tuple[str, ...]
) -> None:
    connection, _ = wire

    await connection.send(
        f"POST {PATH} HTTP/1.1", "Host: api.test", *headers, body="0\r\n\r\n" + SMUGGLED
    )
    told = await connection.rest()

    assert told.split(" ")[1] in {"400", "501"}
    assert told.count("HTTP/1.1 ") == 1


async def test_one_length_of_either_kind_is_read_and_the_connection_stays(
    wire: tuple[Wire, str],
) -> None:
    connection, key = wire
    common = (f"POST {PATH} HTTP/1.1", "Host: api.test", f"Authorization: Bearer {key}")

    await connection.send(*common, "Content-Length: 15", body='{"prompt": "a"}')
    by_length = await connection.answer()
    chunked = 'f\r\n{"prompt": "a"}\r\n0\r\n\r\n'
    await connection.send(*common, "Transfer-Encoding: chunked", body=chunked)
    by_chunks = await connection.answer()

    for head, body in (by_length, by_chunks):
        assert head.startswith("HTTP/1.1 202 "), body


async def test_a_head_on_the_wire_has_the_length_of_the_get_and_no_byte_of_its_body(
    wire: tuple[Wire, str],
) -> None:
    connection, key = wire
    common = ("Host: api.test", f"Authorization: Bearer {key}")

    await connection.send(f"GET {PATH} HTTP/1.1", *common)
    head, body = await connection.answer()
    await connection.send(f"HEAD {PATH} HTTP/1.1", *common, "Connection: close")
    headed = await connection.rest()

    assert f"content-length: {len(body)}" in head.lower()
    assert f"content-length: {len(body)}" in headed.lower()
    assert headed.endswith("\r\n\r\n")
