"""Look-ups: a dead name server holds nobody else's, and is not taken for a dead host."""

import asyncio
import socket
import threading

import pytest

from tests.unit.transport.name_server import name_server
from transport.base import NotSent, Request, Unresolved
from transport.fast import FastClient
from transport.guard import Guard
from transport.resolver import MOST_AT_ONCE, MOST_FAILURES, NotResolved, Resolver

pytestmark = pytest.mark.anyio


async def test_names_whose_server_is_silent_hold_up_no_other_and_no_thread() -> None:
    async with name_server({"healthy.example": "127.0.0.1"}) as server:
        names = Resolver(servers=[server.address], longest=60)
        dead = [asyncio.create_task(names.resolve(f"dead-{n}.example")) for n in range(200)]
        await server.has_heard(200)
        threads = threading.active_count()

        found = await names.resolve("healthy.example", 80)

        assert [each["host"] for each in found] == ["127.0.0.1"]
        assert not any(each.done() for each in dead)
        assert threads < 20
        await names.close()
        ends = await asyncio.gather(*dead, return_exceptions=True)
        assert all(isinstance(end, NotResolved) for end in ends)


async def test_requests_for_one_name_wait_for_one_look_up() -> None:
    async with name_server() as server:
        names = Resolver(servers=[server.address], longest=60)
        asking = [asyncio.create_task(names.resolve("dead.example", 80)) for _ in range(50)]
        await server.has_heard(1)
        before = len(server.asked)
        asking[0].cancel()  # whoever gives up leaves the look-up to the others
        await asyncio.wait({asking[0]})

        assert before <= 2  # c-ares may ask twice
        assert not any(each.done() for each in asking[1:])
        await names.close()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_a_failure_answers_for_a_moment_and_is_then_asked_again() -> None:
    now = 1000.0
    async with name_server() as server:
        names = Resolver(servers=[server.address], longest=0.05, clock=lambda: now)
        for _ in range(2):
            with pytest.raises(NotResolved, match=r"dead\.example: its name server did not answer"):
                await names.resolve("dead.example")
        assert not names._under_way  # noqa: SLF001 - the second was answered from the first
        asked = len(server.asked)

        now += 6
        with pytest.raises(NotResolved):
            await names.resolve("dead.example")

        assert len(server.asked) > asked
        await names.close()


async def test_what_is_remembered_and_what_is_asked_at_once_is_bounded() -> None:
    names = Resolver()
    for n in range(MOST_FAILURES + 10):
        names._remember(f"{n}.example", "failed")  # noqa: SLF001 - as failed look-ups do

    assert len(names._failed) == MOST_FAILURES  # noqa: SLF001
    assert "0.example" not in names._failed  # noqa: SLF001
    async with name_server() as server:
        full = Resolver(servers=[server.address], longest=60)
        asking = [asyncio.create_task(full.resolve(f"{n}.example")) for n in range(MOST_AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(NotResolved, match="are being looked up"):
            await full.resolve("one-more.example")
        await full.close()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_names_of_the_hosts_file_need_no_name_server() -> None:
    async with name_server() as server:
        names = Resolver(servers=[server.address])

        found = await names.resolve("localhost", 80, socket.AF_UNSPEC)

        assert {each["host"] for each in found} <= {"127.0.0.1", "::1"}
        assert found
        assert not server.asked
        await names.close()


async def test_a_name_without_an_address_is_not_sent_and_says_so() -> None:
    async with name_server() as server:
        client = FastClient.guarded(
            Guard(), resolver=Resolver(servers=[server.address], longest=0.05)
        )
        with pytest.raises(Unresolved, match="its name server did not answer") as raised:
            await client.send(Request(method="GET", url="http://no-such-name.example/"))
        await client.close()
        assert isinstance(raised.value, NotSent)


async def test_the_guard_sees_the_address_that_a_name_leads_to() -> None:
    async with name_server({"inside.example": "127.0.0.1"}) as server:
        client = FastClient.guarded(Guard(), resolver=Resolver(servers=[server.address]))
        with pytest.raises(NotSent, match="the address is not public"):
            await client.send(Request(method="GET", url="http://inside.example/"))
        await client.close()
        assert "inside.example" in server.asked
