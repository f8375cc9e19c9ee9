import asyncio
import socket
import threading
import time

import pytest

from transport.base import NotSent, Request
from transport.fast import FastClient
from transport.guard import Guard
from transport.resolver import ThreadedResolver


def test_a_name_server_that_hangs_holds_up_nobody_elses_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given more names that hang than the loop's own pool has threads
    answer = threading.Event()

    def hang(*_args: object, **_options: object) -> list[object]:
        answer.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def use_the_loops_own_threads() -> str:
        names = ThreadedResolver()
        waiting = [asyncio.create_task(names.resolve(f"{n}.example")) for n in range(20)]
        await asyncio.sleep(0)
        # Then the loop's pool is as free as before
        async with asyncio.timeout(5):
            done = await asyncio.to_thread(str, "done")
        answer.set()
        await asyncio.gather(*waiting)
        await names.close()
        return done

    began = time.monotonic()
    assert asyncio.run(use_the_loops_own_threads()) == "done"
    assert time.monotonic() - began < 9


def test_a_name_without_an_address_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    async def fetch() -> None:
        client = FastClient.guarded(Guard())
        try:
            await client.send(Request(method="GET", url="http://no-such-name.example/"))
        finally:
            await client.close()

    with pytest.raises(NotSent, match="not known"):
        asyncio.run(fetch())
