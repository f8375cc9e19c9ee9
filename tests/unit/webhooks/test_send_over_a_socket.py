"""One try of one delivery over a real socket, judged by a receiver that verifies as users do."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
import standardwebhooks

from transport.fast import FastClient
from transport.guard import Guard
from webhooks.send import Message, Outcome, TryResult, send

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
BODY = '{"type":"video.completed","data":{"prompt":"星 über"}}'
LOOPBACK = Guard((IPv4Network("127.0.0.0/8"),))


class Receiver(BaseHTTPRequestHandler):
    """Answers as its path says, and keeps each event that the published package accepts."""

    events: list[Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.events.append(standardwebhooks.Webhook(SECRET).verify(body, dict(self.headers)))
        match urlsplit(self.path).path:
            case "/moved":
                self._answer(302, location="/")
            case "/long":
                self._answer(200, body=b"x" * 2**20)
            case "/half":
                self._answer(200, body=b"half", length=100)
            case "/hung-up/s3cret":
                self.close_connection = True
            case _:
                self._answer(204)

    def _answer(
        self, status: int, *, body: bytes = b"", length: int | None = None, location: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.send_header("location", location)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            return  # the sender has read enough

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return


@contextmanager
def receiving() -> Iterator[tuple[str, list[Any]]]:
    class Own(Receiver):
        events: list[Any] = []  # noqa: RUF012 - one test's own

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", Own.events
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


def deliver(url: str, *, guard: Guard = LOOPBACK) -> TryResult:
    message = Message(
        delivery_id="evt_1", event_id="evt_1", url=url, secret=SECRET, body=BODY.encode()
    )

    async def go() -> TryResult:
        client = FastClient.guarded(guard)
        try:
            return await send(message, client=client, now=int(time.time()))
        finally:
            await client.close()

    return asyncio.run(go())


@pytest.mark.parametrize("path", ["/", "/long", "/half"])
def test_a_receiver_verifies_the_event_and_its_2xx_delivers_it(path: str) -> None:
    with receiving() as (address, events):
        result = deliver(address + path)

    assert (result.outcome, result.error) == (Outcome.DELIVERED, None)
    assert events == [json.loads(BODY)]


def test_a_redirect_is_not_followed() -> None:
    with receiving() as (address, events):
        result = deliver(f"{address}/moved")

    assert (result.outcome, result.status) == (Outcome.RETRY, 302)
    assert len(events) == 1


def test_of_a_receiver_that_hangs_up_neither_path_nor_query_is_told() -> None:
    """Whoever knows the path of such a webhook may post to it."""
    with receiving() as (address, _):
        result = deliver(f"{address}/hung-up/s3cret?token=s3cret")

    assert (result.outcome, result.status) == (Outcome.RETRY, None)
    assert result.error
    assert address in result.error
    assert "s3cret" not in result.error


def test_an_address_that_is_not_public_gets_no_request() -> None:
    with receiving() as (address, events):
        result = deliver(address, guard=Guard())

    assert (result.outcome, result.error) == (Outcome.RETRY, "the address is not public")
    assert events == []
