"""The getter's limits, and those who wait for a connection."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.integration.engine.waiting import until
from tests.unit.transport.getting import get, send
from tests.unit.transport.raw_server import RawServer
from transport import connection
from transport import pool as pools
from transport.base import NotSent, Unanswered
from transport.getter import Getter
from transport.pool import Pool

pytestmark = pytest.mark.anyio


@pytest.fixture
async def other(anyio_backend: object) -> AsyncIterator[RawServer]:
    server = RawServer()
    await server.open()
    yield server
    await server.close()


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
