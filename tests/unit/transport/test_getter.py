"""What the getter alone promises: kept connections, a second try, and where it goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import pytest

from tests.unit.transport.getting import get, send
from tests.unit.transport.name_server import name_server
from tests.unit.transport.raw_server import Behaviour, RawServer
from transport import connection
from transport import pool as pools
from transport.base import (
    NotSent,
    Part,
    Request,
    Response,
    TransportError,
    Unanswered,
    Unresolved,
)
from transport.deadline import Deadline
from transport.getter import Getter

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(anyio_backend: object) -> AsyncIterator[Getter]:
    client = Getter()
    yield client
    await client.close()


def one_after_another(server: RawServer, *behaviours: Behaviour) -> Behaviour:
    """The first request gets the first behaviour; the last one stays."""
    left = [*behaviours]

    async def behave(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return behave


# Kept connections.


@pytest.mark.parametrize("fate", ["dropped", "reset"])
async def test_a_request_that_a_dying_kept_connection_took_is_sent_once_more(
    client: Getter, server: RawServer, fate: str
) -> None:
    dying = server.drop() if fate == "dropped" else server.reset()
    server.behave = one_after_another(server, server.answer(b"1"), dying, server.answer(b"2"))

    answers = [(await send(client, get(server.url()))).content for _ in range(2)]

    assert answers == [b"1", b"2"]
    assert (len(server.requests), server.connections) == (3, 2)


async def test_it_is_not_sent_a_third_time(client: Getter, server: RawServer) -> None:
    server.behave = one_after_another(server, server.answer(), server.drop())
    await send(client, get(server.url()))

    with pytest.raises(Unanswered):
        await send(client, get(server.url()))

    assert len(server.requests) == 3


async def test_an_answer_that_began_is_not_asked_for_again(
    client: Getter, server: RawServer
) -> None:
    server.behave = one_after_another(
        server, server.answer(), server.say(b"HTTP/1.1 2", then_close=True)
    )
    await send(client, get(server.url()))

    with pytest.raises(Unanswered):
        await send(client, get(server.url()))

    assert len(server.requests) == 2


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used(
    client: Getter, server: RawServer
) -> None:
    async def answer_and_close(writer: asyncio.StreamWriter) -> None:
        await server.answer()(writer)
        raise ConnectionResetError

    server.behave = answer_and_close
    await send(client, get(server.url()))
    await server.is_left()

    assert (await send(client, get(server.url()))).status == 200
    assert (len(server.requests), server.connections) == (2, 2)


async def test_who_waited_and_gets_a_dying_connection_is_sent_on_another(
    server: RawServer,
) -> None:
    async def answer_and_close(writer: asyncio.StreamWriter) -> None:
        await server.answer()(writer)
        raise ConnectionResetError

    client = Getter(each=1)
    server.behave = answer_and_close

    answers = await asyncio.gather(*(send(client, get(server.url())) for _ in range(6)))

    assert [answer.status for answer in answers] == [200] * 6
    await client.close()


@pytest.mark.parametrize("error", [connection.Stale, Unanswered])
async def test_a_request_on_a_connection_that_is_lost_fails_at_once(
    server: RawServer, error: type[Exception]
) -> None:
    # Given a connection that ended after it was chosen
    client = Getter()
    await send(client, get(server.url()))
    (lost,) = client._pools.here()._open  # noqa: SLF001 - a moment that no test meets by chance
    lost._is_used = error is connection.Stale  # noqa: SLF001
    lost.abandon()
    await server.is_left()

    outcome = lost.send(b"GET / HTTP/1.1\r\n\r\n", get(server.url()), seconds=5)

    with pytest.raises(error):
        await outcome
    assert len(server.requests) == 1
    await client.close()


async def test_a_connection_that_ends_as_soon_as_it_stands_takes_no_place(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = connection.Connection.connection_made

    def lost_at_once(self: connection.Connection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        monkeypatch.undo()
        asyncio.get_running_loop().call_soon(cast(asyncio.Transport, transport).abort)
        self.connection_lost(None)

    monkeypatch.setattr(connection.Connection, "connection_made", lost_at_once)
    client = Getter(each=1)

    with pytest.raises(NotSent, match="disconnected at once"):
        await send(client, get(server.url()))

    assert (await send(client, get(server.url(), connect_timeout=2))).status == 200
    await client.close()


async def test_a_connection_that_is_to_be_closed_is_not_kept(
    client: Getter, server: RawServer
) -> None:
    server.behave = server.answer(headers="Connection: close\r\n")

    for _ in range(2):
        await send(client, get(server.url()))

    assert server.connections == 2


async def test_what_answers_no_request_is_not_the_next_ones_answer(
    client: Getter, server: RawServer
) -> None:
    # Given a server that says more than it was asked
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d"
    server.behave = one_after_another(
        server, server.say(answer % 1 + answer % 9, then_close=False), server.answer(b"2")
    )

    answers = [(await send(client, get(server.url()))).content for _ in range(2)]

    assert answers == [b"1", b"2"]
    assert server.connections == 2


async def test_a_late_word_ends_a_kept_connection(client: Getter, server: RawServer) -> None:
    # Given a server that says something while nobody asks
    said = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def behave(writer: asyncio.StreamWriter) -> None:
        await server.answer(b"1")(writer)
        writers.append(writer)
        said.set()

    server.behave = behave
    await send(client, get(server.url()))
    await said.wait()
    writers[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    # Then the client leaves
    await server.is_left()
    server.behave = server.answer(b"2")
    assert (await send(client, get(server.url()))).content == b"2"


async def test_a_connection_that_nobody_uses_is_closed(
    client: Getter, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEPT", 0.05)
    monkeypatch.setattr(pools, "SWEEP", 0.01)

    await send(client, get(server.url()))

    await server.is_left()


async def test_one_that_is_used_outlives_that(
    client: Getter, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEPT", 0.01)
    monkeypatch.setattr(pools, "SWEEP", 0.01)
    server.behave = server.answer_after(0.2)

    assert (await send(client, get(server.url()))).status == 200


# Where it goes.


async def test_names_are_asked_of_our_resolver(server: RawServer) -> None:
    async with name_server({"vendor.example": "127.0.0.1"}) as names:
        client = Getter(name_servers=[names.address])

        answer = await send(client, get(server.url(host="vendor.example")))

        assert answer.status == 200
        assert "vendor.example" in names.asked
        assert f"host: vendor.example:{server.port}" in server.requests[0].decode().lower()
        await client.close()


async def test_a_name_without_an_address_is_unresolved(client: Getter) -> None:
    with pytest.raises(Unresolved, match="GET http://no-such-name"):
        await send(client, get("http://no-such-name.example/"))


async def test_an_origin_is_remembered_whole(client: Getter, server: RawServer) -> None:
    # Given an address without a path, whose port begins with another's
    await send(client, get(f"http://127.0.0.1:{server.port}"))
    shorter = f"http://127.0.0.1:{str(server.port)[:-1]}"

    # Then the other is not taken for it, whoever listens there
    with suppress(TransportError):
        await send(client, get(f"{shorter}/tasks/1", connect_timeout=1))
    await send(client, get(f"http://127.0.0.1:{server.port}?a=/b"))
    await send(client, get(f"http://127.0.0.1:{server.port}?a=/c"))
    lines = [request.partition(b" HTTP")[0] for request in server.requests]
    assert lines == [b"GET /", b"GET /?a=/b", b"GET /?a=/c"]


async def test_what_was_checked_once_is_checked_again_when_it_changes(
    client: Getter, server: RawServer
) -> None:
    good = {"authorization": "Bearer one"}
    await send(client, Request(method="GET", url=server.url("/1"), headers=good))

    for url, headers in [
        (server.url("/2\r\nX-Injected: 1"), good),
        (server.url("/a b"), good),
        (server.url("/2"), {"authorization": "Bearer one\r\nX-Injected: 1"}),
    ]:
        with pytest.raises(NotSent):
            await send(client, Request(method="GET", url=url, headers=headers))
    await send(client, Request(method="GET", url=server.url("/3"), headers={"x": "2"}))

    assert len(server.requests) == 2
    assert b"authorization: Bearer one" in server.requests[0]
    assert b"authorization" not in server.requests[1]
    assert b"x: 2" in server.requests[1]


async def test_what_is_remembered_is_bounded(client: Getter, server: RawServer) -> None:
    for n in range(300):
        await send(client, Request(method="GET", url=server.url(), headers={"x": str(n)}))

    assert len(client._heads) <= 256  # noqa: SLF001
    assert b"x: 299" in server.requests[299]
    assert server.connections == 1


@pytest.mark.parametrize(
    "request_",
    [
        Request(method="POST", url="http://127.0.0.1/", content=b"{}"),
        Request(method="GET", url="http://127.0.0.1/", content=b"{}"),
        Request(method="GET", url="http://127.0.0.1/", form=(Part(name="a", content=b"b"),)),
        Request(method="GET", url="http://127.0.0.1/", begin_by=Deadline(5.0)),
    ],
    ids=["post", "content", "form", "deadline"],
)
async def test_whatever_is_no_plain_get_another_client_sends(request_: Request) -> None:
    class Other:
        def __init__(self) -> None:
            self.sent: list[Request] = []
            self.closed = False

        async def send(self, request: Request) -> Response:
            self.sent.append(request)
            return Response(status=200, headers={}, content=b"")

        async def close(self) -> None:
            self.closed = True

    other = Other()
    client = Getter(otherwise=other)

    await client.send(request_)
    await client.close()

    assert other.sent[-1] is request_
    assert other.closed
    with pytest.raises(ValueError, match="a getter sends GETs alone"):
        await Getter().send(request_)
