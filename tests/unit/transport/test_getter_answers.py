"""What servers may say to the getter: each word ends in an answer or an error, within bounds."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from tests.unit.transport.raw_server import Behaviour, RawServer
from transport.answer import MOST_FIELDS, MOST_HEAD, Answer, Malformed, Oversized
from transport.base import BadAnswer, Request, Response, TooLarge, TransportError, Unanswered
from transport.getter import Getter

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def client(anyio_backend: object) -> AsyncIterator[Getter]:
    client = Getter()
    yield client
    await client.close()


async def said(
    client: Getter, server: RawServer, raw: bytes, *, then_close: bool = False
) -> Response:
    server.behave = server.say(raw, then_close=then_close)
    request = Request(method="GET", url=server.url(), timeout=8, max_bytes=8_000)
    async with asyncio.timeout(10):
        return await client.send(request)


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (OK + b"Content-Length: 2\r\n\r\nab", b"ab"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (CHUNKED + b"2\r\nab\r\n1;name=value\r\nc\r\n0\r\n\r\n", b"abc"),
        (CHUNKED + b"1\r\na\r\n" * 3000 + b"0\r\n\r\n", b"a" * 3000),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nab", b"ab"),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3
            + OK
            + b"Content-Length: 2\r\n\r\nab",
            b"ab",
        ),
    ],
)
async def test_a_whole_answer_is_read_and_its_connection_kept(
    client: Getter, server: RawServer, raw: bytes, content: bytes
) -> None:
    for _ in range(2):
        assert (await said(client, server, raw)).content == content
    assert server.connections == 1


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"\r\nab",
        b"HTTP/1.0 200 OK\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab",
    ],
)
async def test_a_body_may_end_with_its_connection(
    client: Getter, server: RawServer, raw: bytes
) -> None:
    assert (await said(client, server, raw, then_close=True)).content == b"ab"


async def test_a_trailer_is_no_header(client: Getter, server: RawServer) -> None:
    raw = CHUNKED + b"2\r\nab\r\n0\r\nRetry-After: 9\r\n\r\n"

    answer = await said(client, server, raw)

    assert dict(answer.headers) == {"transfer-encoding": "chunked"}
    assert answer.content == b"ab"


async def test_header_fields_of_an_interim_answer_are_not_the_answers(
    client: Getter, server: RawServer
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\nContent-Encoding: gzip\r\n\r\n"

    answer = await said(client, server, early + OK + b"Content-Length: 2\r\n\r\nab")

    assert dict(answer.headers) == {"content-length": "2"}
    assert answer.content == b"ab"


@pytest.mark.parametrize(
    "raw",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nab",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        OK + b"Content-Length: -2\r\n\r\nab",
        OK + b"Content-Length: 2, 2\r\n\r\nab",
        OK + b"No colon\r\n\r\n",
        OK + b"X: a\0b\r\n\r\n",
        OK + b"Content-Length : 2\r\n\r\nab",
        CHUNKED + b"zz\r\nab\r\n",
        CHUNKED + b"fffffffffffffffffff\r\nab\r\n",
        CHUNKED + b"2\r\nabXX",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + OK + b"Content-Length: 0\r\n\r\n",
        OK + b"x: y\r\n" * (MOST_FIELDS + 1) + b"\r\n",
        OK + b"x: " + b"y" * MOST_HEAD + b"\r\n\r\n",
        OK + b"x: " + b"y" * (MOST_HEAD + 300_000),
        OK + b"y" * (MOST_HEAD + 300_000),
        b"HTTP/1.1 200 " + b"y" * (MOST_HEAD + 300_000),
        CHUNKED + b"2\r\nab\r\n0\r\n" + b"x: y\r\n" * (MOST_FIELDS + 1) + b"\r\n",
    ],
)
async def test_what_is_no_answer_is_told_at_once_and_its_connection_ended(
    client: Getter, server: RawServer, raw: bytes
) -> None:
    with pytest.raises(BadAnswer, match=r"GET http://127.0.0.1:\d+: malformed HTTP response"):
        await said(client, server, raw)
    await server.is_left()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Content-Length: 8001\r\n\r\n",
        CHUNKED + b"1f41\r\n" + b"a" * 8001,
        CHUNKED + b"1\r\na\r\n" * 8001,
        CHUNKED + b"1;" + b"x" * 400_000,  # a chunk whose extension has no end
        OK + b"\r\n" + b"a" * 8001,
    ],
)
async def test_a_body_beyond_its_limit_ends_before_it_is_there(
    client: Getter, server: RawServer, raw: bytes
) -> None:
    with pytest.raises(TooLarge, match="larger than 8000 bytes"):
        await said(client, server, raw)
    await server.is_left()


def drips(server: RawServer, piece: bytes) -> Behaviour:
    """Never silent for long, never at an end."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        while not (server._closing.is_set() or writer.is_closing()):  # noqa: SLF001
            writer.write(piece)
            await writer.drain()
            await server._pause(0.02)  # noqa: SLF001

    return behave


@pytest.mark.parametrize("piece", [b"x", b"x: y\r\n"])
async def test_a_head_that_never_ends_is_no_answer_in_time(
    client: Getter, server: RawServer, piece: bytes
) -> None:
    server.behave = drips(server, piece)

    with pytest.raises(Unanswered, match=r"no response within 0\.4 s"):
        async with asyncio.timeout(10):
            await client.send(Request(method="GET", url=server.url(), timeout=0.4))
    await server.is_left()


#: What most answers are made of, so that changes of it reach far into the reader.
SEEDS = (
    OK + b'Content-Length: 20\r\nContent-Type: application/json\r\n\r\n{"status":"RUNNING"}',
    CHUNKED + b'14\r\n{"status":"RUNNING"}\r\n0\r\nX-Trailer: 1\r\n\r\n',
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
    b"HTTP/1.0 429 Too Many\r\nRetry-After: 7\r\nConnection: close\r\n\r\nslow down",
    OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
)
TOKENS = (b"\r\n", b"\r\n\r\n", b"0\r\n", b"\0", b"\xff", b"chunked", b"Content-Length: 9\r\n", OK)


def mutated(dice: random.Random) -> bytes:
    raw = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randint(0, 4)):
        at = dice.randrange(len(raw) + 1)
        match dice.randrange(4):
            case 0:
                raw[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del raw[at : at + dice.randint(1, 9)]
            case 2:
                raw[at:at] = dice.choice(TOKENS)
            case _:
                raw[at:at] = dice.randbytes(dice.randint(1, 30))
    return bytes(raw)


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_are_an_answer_or_one_of_three_errors(seed: int) -> None:
    dice = random.Random(seed)  # fixed, so that a failure can be seen again
    answer = Answer()
    for _ in range(500):
        raw = mutated(dice)
        answer = answer if answer.is_complete and not answer.is_last else Answer()
        answer.begin(64)
        try:
            while raw and not answer.is_complete:
                size = dice.randint(1, len(raw))
                answer.feed(raw[:size])
                raw = raw[size:]
        except (Malformed, Oversized):
            answer = Answer()
            continue
        if raw or not answer.close():
            answer = Answer()
            continue
        assert 100 <= answer.status <= 999
        dict(answer.fields())
        assert len(answer._body) <= 64  # noqa: SLF001


async def test_any_bytes_end_in_an_answer_or_a_transport_error_in_time(server: RawServer) -> None:
    dice = random.Random(2026)
    client = Getter()
    request = Request(method="GET", url=server.url(), timeout=8, max_bytes=64)
    ends = {"answer": 0, "error": 0}
    for _ in range(400):
        server.behave = server.say(mutated(dice), then_close=True)
        try:
            async with asyncio.timeout(10):
                response = await client.send(request)
        except TransportError as error:
            ends["error"] += str(error).startswith("GET http://127.0.0.1")
        else:
            assert len(response.content) <= 64
            ends["answer"] += 1
    assert sum(ends.values()) == 400
    assert min(ends.values()) > 50
    await client.close()
