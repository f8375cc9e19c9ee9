"""Which connections are late, and which goes for another: by a clock of the test's own."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.connections import (
    LINGERS,
    STRANGER_TAKES_WITHIN,
    TAKES_WITHIN,
    Connection,
    Connections,
    Patience,
)
from api.limits import Limits

pytestmark = pytest.mark.anyio
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


class Wire(asyncio.Transport):
    """What a connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unsent = 0
        self.ended = ""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class House:
    """Connections, a clock, and an application that answers when it is told to."""

    def __init__(self, *, most: int = 4, of_address: int = 4) -> None:
        self.now = 1000.0
        self.go = asyncio.Event()
        limits = Limits(
            connections=most, requests=most, of_address=of_address, streams=2, streams_of_tenant=1
        )
        patience = Patience(header_seconds=10, body_seconds=20, body_rate=1000)
        self.connections = Connections(limits, patience, clock=lambda: self.now)
        self._config = uvicorn.Config(
            self._app, interface="asgi3", proxy_headers=False, ws="none", log_config=None
        )
        self._config.load()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def connect(self, host: str = "203.0.113.7") -> tuple[Connection, Wire] | None:
        if not self.connections.has_place():
            return None
        made = Connection(
            self.connections,
            config=self._config,
            server_state=ServerState(),
            app_state={},
            _loop=asyncio.get_running_loop(),
        )
        self.connections.enter(made, host)
        wire = Wire()
        made.connection_made(wire)
        return made, wire

    def came(self, host: str = "203.0.113.7") -> tuple[Connection, Wire]:
        found = self.connect(host)
        assert found is not None
        return found

    async def answer(self) -> None:
        self.go.set()
        for _ in range(5):
            await asyncio.sleep(0)
        self.go.clear()

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.connections.check()


async def test_a_head_has_its_time_from_the_first_byte_on() -> None:
    house = House()
    silent, late = house.came(), house.came()
    house.after(9)
    late[0].data_received(GET[:5])
    house.after(2)  # the head's bytes did not begin its time anew

    assert (silent[1].ended, silent[1].sent) == ("closed", b"")
    assert late[1].ended == ""
    house.after(9)
    assert late[1].ended == "closed"
    assert late[1].sent.startswith(b"HTTP/1.1 408 ")


async def test_a_body_has_its_time_and_more_for_what_has_come() -> None:
    house = House()
    slow, steady = house.came(), house.came()
    for connection, _ in (slow, steady):
        connection.data_received(POST)
    for _ in range(24):
        steady[0].data_received(b"x" * 1000)
        slow[0].data_received(b"x" * 10)
        house.after(1)

    assert slow[1].sent.startswith(b"HTTP/1.1 408 ")
    assert steady[1].ended == ""
    house.after(22)
    assert steady[1].ended == "closed"


async def test_time_in_which_we_read_nothing_is_not_the_clients() -> None:
    house = House()
    connection, wire = house.came()
    connection.data_received(POST + b"x" * 70_000)  # more than is held before the app reads
    for _ in range(300):
        house.after(1)

    assert wire.ended == ""


async def test_the_rest_of_a_body_after_its_response_has_seconds() -> None:
    house = House()
    connection, wire = house.came()
    connection.data_received(POST)
    await house.answer()
    house.after(LINGERS - 1)
    connection.data_received(b"x" * 1000)
    assert wire.ended == ""
    house.after(2)
    assert wire.ended


async def test_a_client_that_takes_nothing_is_dropped_and_one_that_takes_a_little_is_not() -> None:
    house = House()
    stuck, slow = house.came(), house.came()
    for connection, wire in (stuck, slow):
        connection.data_received(GET)
        proved(connection)
        wire.unsent = 100_000
    house.after(0)
    for _ in range(3):
        slow[1].unsent -= 1
        house.after(TAKES_WITHIN / 2)

    assert stuck[1].ended == "aborted"
    assert slow[1].ended == ""


async def test_an_idle_connection_is_kept_for_its_time() -> None:
    house = House()
    connection, wire = house.came()
    connection.data_received(GET)
    await house.answer()
    assert wire.sent.startswith(b"HTTP/1.1 200 ")
    house.after(connection.timeout_keep_alive - 1)
    assert wire.ended == ""
    connection.data_received(GET)
    await house.answer()
    house.after(connection.timeout_keep_alive + 1)
    assert wire.ended


async def test_the_oldest_without_a_request_goes_for_a_new_one() -> None:
    house = House()
    idle, busy, first, second = (house.came(f"203.0.113.{n}") for n in range(4))
    idle[0].data_received(GET)
    await house.answer()
    busy[0].data_received(GET)

    house.came("198.51.100.1")
    assert [each[1].ended for each in (idle, busy, first, second)] == ["", "", "aborted", ""]
    house.came("198.51.100.2")[0].data_received(GET)
    assert second[1].ended == "aborted"
    house.came("198.51.100.3")
    assert idle[1].ended == ""  # the silent one of before went
    assert busy[1].ended == ""
    assert len(house.connections) == 4


async def test_where_all_are_busy_nobody_more_comes() -> None:
    house = House()
    for number in range(4):
        house.came(f"203.0.113.{number}")[0].data_received(GET)

    assert house.connect("198.51.100.1") is None
    await house.answer()
    assert house.connect("198.51.100.1") is not None


def proved(connection: Connection) -> None:
    connection.cycle.scope["state"]["admitted"] = SimpleNamespace(is_proved=True)


async def test_an_address_may_have_all_places_that_nobody_else_wants() -> None:
    house = House(most=10, of_address=2)
    mine = [house.came() for _ in range(10)]

    assert [wire.ended for _, wire in mine] == [""] * 10


async def test_where_all_are_busy_one_without_a_right_key_goes_of_whom_there_are_most() -> None:
    house = House(most=7)
    known = house.came()
    strangers = [house.came() for _ in range(4)]
    others = [house.came("198.51.100.1") for _ in range(2)]
    for connection, _ in (known, *strangers, *others):
        connection.data_received(GET)
    proved(known[0])

    for _ in range(2):
        assert not house.connections.has_place(busy=False)
        came = house.came("198.51.100.2")
        came[0].data_received(GET)
        proved(came[0])

    assert [each[1].ended for each in (known, *strangers)] == ["", *["aborted"] * 2, "", ""]
    assert [wire.ended for _, wire in others] == ["", ""]


async def test_a_stranger_has_less_time_to_take_its_response() -> None:
    house = House()
    stranger, known = house.came(), house.came()
    for connection, wire in (stranger, known):
        connection.data_received(GET)
        wire.unsent = 100_000
    proved(known[0])
    house.after(0)
    house.after(STRANGER_TAKES_WITHIN + 1)

    assert (stranger[1].ended, known[1].ended) == ("aborted", "")


async def test_connections_of_a_lost_client_are_forgotten() -> None:
    house = House()
    for _ in range(20):
        connection, _ = house.came()
        connection.connection_lost(None)

    assert len(house.connections) == 0
