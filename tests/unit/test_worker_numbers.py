"""A worker's port of numbers: nobody's name is asked for, nobody keeps it, and it ends."""

import socket
import threading
from collections.abc import Iterator

import pytest

from settings import load
from worker import numbers


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[numbers.Server]:
    def asked(*_: object) -> str:
        raise AssertionError("a name server was asked")

    monkeypatch.setattr(socket, "getfqdn", asked)
    made = numbers.Server(load({}), ["poll"])
    thread = threading.Thread(target=numbers.serve, args=(made,), daemon=True)
    thread.start()
    monkeypatch.setattr(numbers, "_server", made)
    yield made
    numbers.stop()
    thread.join(30)
    assert not thread.is_alive(), "it goes on after the worker"
    assert made.socket.fileno() == -1


def asked(server: numbers.Server, request: bytes) -> bytes:
    """What is answered, to its end."""
    host, port = server.server_address[:2]
    with socket.create_connection((str(host), port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_scraper_that_is_slow_is_cut_off_and_the_next_one_served(
    server: numbers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each byte of it comes in time: this stands for any number of them.
    monkeypatch.setattr(numbers.Handler, "timeout", 3600.0)
    monkeypatch.setattr(numbers, "PATIENCE", 0.1)
    assert asked(server, b"GET /met") == b""

    monkeypatch.setattr(numbers, "PATIENCE", 60.0)
    answer = asked(server, b"GET /metrics HTTP/1.0\r\n\r\n")
    assert b'longtake_worker_queue{queue="poll"} 1.0' in answer


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_it_listens_at_an_address_of_ipv6_too() -> None:
    with numbers.Server(load({"LONGTAKE_METRICS_HOST": "::1"}), []) as server:
        assert server.server_address[0] == "::1"
