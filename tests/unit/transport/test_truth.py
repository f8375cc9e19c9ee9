"""What the clients say after a POST, against what a socket saw: a wrong NotSent would pay twice."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.transport.raw_server import Behaviour, RawServer
from transport.base import (
    BadAnswer,
    Client,
    NotSent,
    Request,
    Response,
    Sender,
    TooLarge,
    TransportError,
    Unanswered,
)
from transport.deadline import Deadline
from transport.exact import ExactClient
from transport.fast import FastClient
from transport.getter import Getter
from transport.progress import SendProgress

pytestmark = pytest.mark.anyio


def says(raw: bytes, *, then_close: bool = False) -> Callable[[RawServer], Behaviour]:
    return lambda server: server.say(raw, then_close=then_close)


#: What the server does, the type of the error that is the truth about it, and what it says.
FATES: dict[str, tuple[Callable[[RawServer], Behaviour], type[TransportError], str]] = {
    "drops the connection": (RawServer.drop, Unanswered, "Error$"),
    "resets the connection": (lambda server: server.reset(), Unanswered, "Error$"),
    "never answers": (RawServer.stay_silent, Unanswered, r"no response within 0\.4 s"),
    "drops half-way through the head": (
        says(b"HTTP/1.1 200 OK\r\nContent-Le", then_close=True),
        Unanswered,
        "Error$",
    ),
    "drops half-way through the body": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", then_close=True),
        BadAnswer,
        "cut off",
    ),
    "drops half-way through a chunk": (
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", then_close=True),
        BadAnswer,
        "cut off",
    ),
    "stops half-way through the body": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
        BadAnswer,
        r"response incomplete after 0\.4 s",
    ),
    "trickles without an end": (RawServer.trickle, BadAnswer, r"response incomplete after 0\.4 s"),
    "declares a huge body": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"),
        TooLarge,
        "larger than 8000 bytes",
    ),
    "sends a huge body undeclared": (
        says(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 9_000),
        TooLarge,
        "larger than 8000 bytes",
    ),
    "does not speak HTTP": (
        says(b"220 mail.example ESMTP\r\n\r\n"),
        BadAnswer,
        "malformed HTTP response",
    ),
    "sends a broken encoding": (
        lambda server: server.answer(b"not gzip", headers="Content-Encoding: gzip\r\n"),
        BadAnswer,
        "cut off",
    ),
}


def post(url: str, *, method: str = "POST", timeout: float = 8) -> Request:
    return Request(
        method=method,
        url=url,
        content=b'{"prompt":"a cat"}' if method == "POST" else None,
        timeout=timeout,
        connect_timeout=8,
        max_bytes=8_000,
    )


async def send(client: Sender, request: Request) -> Response:
    """As `client.send`, but no test waits forever on a timeout that does not fire."""
    async with asyncio.timeout(10):
        return await client.send(request)


@pytest.mark.parametrize("fate", FATES)
async def test_what_was_read_is_never_called_not_sent_nor_sent_again(
    client: Client, server: RawServer, fate: str
) -> None:
    await _tells_the_truth(client, server, fate=fate, method="POST")


@pytest.mark.parametrize("fate", FATES)
async def test_of_a_get_the_same_is_told(getter: Sender, server: RawServer, fate: str) -> None:
    await _tells_the_truth(getter, server, fate=fate, method="GET")


async def _tells_the_truth(client: Sender, server: RawServer, *, fate: str, method: str) -> None:
    # Given a server that has read the whole request, and then
    behaviour, truth, why = FATES[fate]
    server.behave = behaviour(server)
    timeout = 0.4 if r"0\.4 s" in why else 8

    # When a client sends it
    with pytest.raises(TransportError, match=why) as told:
        await send(client, post(server.url(), method=method, timeout=timeout))

    # Then it tells exactly this, and the server has seen one request
    assert type(told.value) is truth
    assert len(server.requests) == 1
    assert server.connections == 1


async def test_a_refused_connection_is_not_sent(getter: Sender, closed_port: int) -> None:
    with pytest.raises(TransportError) as told:
        await send(getter, post(f"http://127.0.0.1:{closed_port}/", method="GET"))

    assert type(told.value) is NotSent


async def test_what_can_not_begin_in_time_is_not_sent_although_the_connection_stands(
    client: Client, server: RawServer
) -> None:
    # Given a machine that sleeps until the connection stands
    times = [0.0]

    def wakes() -> float:
        times[0] += 3600.0
        return times[0]

    server.behave = server.answer(b"{}")
    late = replace(post(server.url()), begin_by=Deadline(60.0, clocks=[wakes]))
    in_time = replace(post(server.url()), begin_by=Deadline(60.0))
    # When it sends one request that is late by then, and one that is not
    with pytest.raises(TransportError, match="not started within 60 s") as told:
        await send(client, late)
    answer = await send(client, in_time)
    # Then the server has seen a byte of the second only
    assert type(told.value) is NotSent
    assert answer.status == 200
    assert len(server.requests) == 1


async def test_a_connection_that_never_stands_is_not_sent(getter: Sender, deaf_port: int) -> None:
    request = Request(method="GET", url=f"http://127.0.0.1:{deaf_port}/", connect_timeout=0.2)

    with pytest.raises(TransportError) as told:
        await send(getter, request)

    assert type(told.value) is NotSent


async def test_a_failed_handshake_is_not_sent(getter: Sender, server: RawServer) -> None:
    server.behave = server.say(b"what?\r\n", then_close=True)

    request = Request(
        method="GET", url=server.url().replace("http:", "https:"), connect_timeout=0.3
    )
    with pytest.raises(TransportError) as told:
        await send(getter, request)

    assert type(told.value) is NotSent
    assert server.requests == []


@pytest.mark.parametrize(
    "make",
    [ExactClient, FastClient.trusted, lambda connections: Getter(each=connections)],
    ids=["exact", "fast", "getter"],
)
async def test_a_request_that_waits_in_vain_for_a_free_connection_is_not_sent(
    server: RawServer, make: Callable[..., Sender]
) -> None:
    # Given a client whose only connection is taken by a request without an answer
    client = make(connections=1)
    server.behave = server.stay_silent()
    first = asyncio.create_task(
        client.send(Request(method="GET", url=server.url("/first"), timeout=5))
    )
    await server.has_read(1)

    # When another is asked for
    with pytest.raises(TransportError) as told:
        await send(client, Request(method="GET", url=server.url("/second"), connect_timeout=0.1))

    # Then it did not leave
    assert type(told.value) is NotSent
    assert len(server.requests) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await client.close()


async def test_the_connect_timeout_is_not_the_answers(getter: Sender, server: RawServer) -> None:
    # Given an answer that takes longer than a connection may
    server.behave = server.answer_after(0.8)

    request = Request(method="GET", url=server.url(), connect_timeout=0.5, timeout=5)

    assert (await send(getter, request)).content == b"{}"


async def test_no_paid_post_is_put_in_doubt_by_a_connection_that_was_kept_too_long(
    server: RawServer,
) -> None:
    # Given a server that would keep connections, and may drop any at any time
    client = ExactClient()

    # When requests follow each other
    for _ in range(3):
        await send(client, post(server.url()))

    # Then each has a connection of its own
    assert server.connections == 3
    await client.close()


@pytest.mark.parametrize("make", [FastClient.trusted, Getter], ids=["fast", "getter"])
async def test_polls_keep_their_connection(server: RawServer, make: Callable[[], Sender]) -> None:
    client = make()

    for _ in range(3):
        await send(client, post(server.url(), method="GET"))

    assert server.connections == 1
    await client.close()


async def test_once_a_request_has_left_no_word_of_a_library_makes_it_not_sent() -> None:
    with SendProgress(post("http://provider.example/")) as progress:
        before = progress.failed("refused", connecting=True)
        progress.mark_sent()
        after = progress.failed("refused", connecting=True)

    assert (type(before), type(after)) == (NotSent, Unanswered)


async def test_a_cancelled_request_gives_its_connection_up(
    getter: Sender, server: RawServer
) -> None:
    # Given a request that waits for its answer
    server.behave = server.stay_silent()
    sending = asyncio.create_task(send(getter, post(server.url(), method="GET")))
    await server.has_read(1)

    # When it is cancelled
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    # Then the server sees the client go
    await server.is_left()
