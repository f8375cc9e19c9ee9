"""Everything that passes through a Valkey, and every event that Flower would see, in clear."""

import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from redis import Redis

_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
#: The last command, by which the listener knows that it has heard all before it.
_END = "longtake-listener-ends"


@contextmanager
def overhearing(url: str) -> Iterator[list[str]]:
    """Every command that anybody sends to the Valkey; complete once the block has ended."""
    heard: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        with Redis.from_url(url, socket_timeout=60) as client, client.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                heard.append(str(command["command"]))
                if _END in heard[-1]:
                    return

    thread = threading.Thread(target=listen, name="overhearing")
    thread.start()
    assert ready.wait(10)
    try:
        yield heard
    finally:
        with Redis.from_url(url, socket_timeout=10) as client:
            client.echo(_END)
        thread.join(60)


@contextmanager
def watching_like_flower(url: str) -> Iterator[list[dict[str, Any]]]:
    """Every Celery event that is sent while the block lasts."""
    events: list[dict[str, Any]] = []
    hears = threading.Event()

    def hear(event: dict[str, Any]) -> None:
        events.append(event)
        hears.set()

    with (
        Celery("longtake-watcher", broker=url, set_as_current=False) as app,
        app.connection_for_read() as connection,
    ):
        receiver = app.events.Receiver(connection, handlers={"*": hear})
        thread = threading.Thread(target=lambda: receiver.capture(wakeup=True), name="watching")
        thread.start()
        assert hears.wait(20), "no worker's heart beats"
        try:
            yield events
        finally:
            receiver.should_stop = True  # it looks once a second
            thread.join(30)


def inspected(url: str) -> str:
    """What every worker says that it does, as Flower's worker page shows it."""
    with Celery("longtake-inspector", broker=url, set_as_current=False) as app:
        inspector = app.control.inspect(timeout=2)
        answers = (inspector.active(), inspector.reserved(), inspector.stats())
        return repr(answers)


def decoded(text: str) -> str:
    """The text, and after it what its base64 runs say: Celery wraps its messages so."""
    inner = [b64decode(run + "=" * (-len(run) % 4)) for run in _BASE64.findall(text)]
    return "\n".join([text, *(each.decode(errors="replace") for each in inner)])
