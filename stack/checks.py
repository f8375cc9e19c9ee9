"""Health checks of the stack's processes, made from outside, as a client would."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from stack.threads import in_thread
from transport.base import Request, TransportError
from transport.exact import ExactClient

#: Returns whether the process answers; takes a few seconds at most and never raises.
Check = Callable[[], Awaitable[bool]]

#: Timeout of one check, in seconds.
TIMEOUT = 2.0
#: Timeout of the first ping, in seconds; each that is not answered waits longer, up to TIMEOUT. A
#: ping that was sent before a worker listened is never answered, and a busy worker answers late.
FIRST_PING = 0.3


def answers(url: str) -> Check:
    """A check that GET `url` returns a success status."""

    async def check() -> bool:
        if not await _is_open(url):
            return False  # at a fraction of a client's cost, while the process is starting
        client = ExactClient()
        request = Request(method="GET", url=url, timeout=TIMEOUT, connect_timeout=TIMEOUT)
        try:
            return (await client.send(request)).is_success
        except TransportError:
            return False
        finally:
            await client.close()

    return check


async def _is_open(url: str) -> bool:
    """Whether its host listens on its port."""
    place = urlsplit(url)
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(place.hostname, place.port)
    except OSError:  # includes TimeoutError
        return False
    writer.close()
    return True


def answers_ping(broker: str, name: str) -> Check:
    """A check that the worker or beat called `name` answers Celery's ping through the broker."""
    patience = FIRST_PING

    async def check() -> bool:
        nonlocal patience
        answered = await in_thread(lambda: _ping(broker, name, patience))
        patience = min(patience * 1.5, TIMEOUT)
        return answered

    return check


def _ping(broker: str, name: str, patience: float) -> bool:
    from kombu.exceptions import OperationalError  # noqa: PLC0415 - see _asker

    try:
        return bool(_asker(broker).control.ping(destination=[name], timeout=patience, limit=1))
    except (OperationalError, OSError):
        return False


@cache
def _asker(broker: str) -> Any:
    """One app for all pings: making one costs more than a ping."""
    # Imported by the first ping, while the processes start: their servers need not wait for it.
    from celery import Celery  # noqa: PLC0415

    return Celery("longtake-stack", broker=broker, set_as_current=False)
