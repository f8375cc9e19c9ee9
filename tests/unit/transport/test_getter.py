"""What the getter alone promises: kept connections, limits, waits, and a second try."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from tests.integration.engine.waiting import until
from tests.unit.transport.name_server import name_server
from tests.unit.transport.raw_server import Behaviour, RawServer
from transport import connection
from transport import pool as pools
from transport.base import NotSent, Part, Request, Response, Unanswered, Unresolved
from transport.deadline import Deadline
from transport.getter import Getter
from transport.pool import Pool

pytestmark = pytest.mark.anyio


def get(url: str, *, connect_timeout: float = 8, timeout: float = 8) -> Request:
    return Request(method="GET", url=url, connect_timeout=connect_timeout, timeout=timeout)


@pytest.fixture
async def client(anyio_backend: object) -> AsyncIterator[Getter]:
    client = Getter()
    yield client
    await client.close()


@pytest.fixture
async def other(anyio_backend: object) -> AsyncIterator[RawServer]:
    server = RawServer()
    await server.open()
    yield server
    await server.close()


async def send(client: Getter, request: Request) -> Response:
    """As `client.send`, but no test waits forever."""
    async with asyncio.timeout(10):
        return await client.send(request)


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


# Limits and waits.


async def test_requests_beyond_the_limit_share_the_connections(server: RawServer) -> None:
    client = Getter(each=3)

    answers = await asyncio.gather(*(send(client, get(server.url())) for _ in range(50)))

    assert [answer.status for answer in answers] == [200] * 50
    assert server.connections == 3
    await client.close()


async def test_one_host_that_hangs_leaves_the_others_their_connections(
    server: RawServer, other: RawServer
) -> None:
    client = Getter(each=2, most=10)
    server.behave = server.stay_silent()
    hanging = [asyncio.create_task(client.send(get(server.url()))) for _ in range(20)]
    await server.has_read(2)

    assert (await send(client, get(other.url()))).status == 200

    assert server.connections == 2
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await client.close()


async def test_idle_connections_of_one_host_give_way_to_another(
    server: RawServer, other: RawServer
) -> None:
    client = Getter(each=4, most=4)
    server.behave = server.answer_after(0.02)
    await asyncio.gather(*(send(client, get(server.url())) for _ in range(4)))
    assert server.connections == 4

    await asyncio.gather(*(send(client, get(other.url())) for _ in range(8)))

    assert other.connections == 4
    await server.is_left()
    await client.close()


async def test_who_waits_for_room_gets_it_when_another_hosts_answer_is_there(
    server: RawServer, other: RawServer
) -> None:
    # Given all connections at one host, whose requests wait too
    client = Getter(each=2, most=2)
    server.behave = server.answer_after(0.05)
    first = [asyncio.create_task(client.send(get(server.url()))) for _ in range(4)]
    await server.has_read(2)

    # When another host is asked
    answer = await send(client, get(other.url()))

    # Then all are answered
    assert answer.status == 200
    assert [(await task).status for task in first] == [200] * 4
    await client.close()


def when_freed(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Do something once, just after an answer is complete and its connection is handed on."""
    handed_on, left = Pool._freed, [then]  # noqa: SLF001 - the moment that no test meets by chance

    def freed(self: Pool, freed: connection.Connection) -> None:
        handed_on(self, freed)
        if left:
            left.pop()()

    monkeypatch.setattr(Pool, "_freed", freed)


async def test_who_is_cancelled_just_when_its_turn_comes_takes_no_connection_along(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Getter(each=1)
    server.behave = server.answer_after(0.05)
    first, second, third = (asyncio.create_task(client.send(get(server.url()))) for _ in range(3))
    when_freed(monkeypatch, second.cancel)

    assert (await first).status == 200
    assert (await third).status == 200
    await asyncio.wait([second])
    assert second.cancelled()
    assert (len(server.requests), server.connections) == (2, 1)
    await client.close()


async def test_who_is_cancelled_just_when_its_answer_is_there_ends_no_others(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Getter(each=1)
    server.behave = server.answer_after(0.05)
    first, second = (asyncio.create_task(client.send(get(server.url()))) for _ in range(2))
    when_freed(monkeypatch, first.cancel)

    assert (await second).status == 200
    assert first.cancelled()
    assert (len(server.requests), server.connections) == (2, 1)
    await client.close()


async def test_a_request_that_was_cancelled_gives_its_place_to_the_next(
    server: RawServer,
) -> None:
    client = Getter(each=1)
    server.behave = server.stay_silent()
    first = asyncio.create_task(client.send(get(server.url())))
    await server.has_read(1)
    second = asyncio.create_task(client.send(get(server.url())))
    await asyncio.sleep(0)
    server.behave = server.answer()

    first.cancel()

    assert (await second).status == 200
    await asyncio.wait([first])
    await client.close()


async def test_those_that_fail_to_connect_give_their_places_up(closed_port: int) -> None:
    client = Getter(each=2)

    ends = await asyncio.gather(
        *(send(client, get(f"http://127.0.0.1:{closed_port}/")) for _ in range(20)),
        return_exceptions=True,
    )

    assert {type(end) for end in ends} == {NotSent}
    assert not [end for end in ends if "no connection within" in str(end)]
    await client.close()


async def test_closing_ends_who_waits_and_who_is_served(server: RawServer) -> None:
    client = Getter(each=1)
    server.behave = server.stay_silent()
    asking = [asyncio.create_task(client.send(get(server.url()))) for _ in range(2)]
    await server.has_read(1)

    await client.close()

    served, waited = await asyncio.gather(*asking, return_exceptions=True)
    assert (type(served), type(waited)) == (Unanswered, NotSent)
    await server.is_left()


async def test_nothing_is_left_running_when_nobody_asks(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEPT", 0.01)
    monkeypatch.setattr(pools, "SWEEP", 0.01)
    client = Getter()
    await send(client, get(server.url()))
    await server.is_left()

    here = client._pools.here()  # noqa: SLF001 - whether its timer runs
    await until(lambda: here._sweeping is None)  # noqa: SLF001

    assert not here._open  # noqa: SLF001
    assert not here._hosts  # noqa: SLF001
    await client.close()


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

    # Then the other is not taken for it
    with pytest.raises(NotSent):
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
