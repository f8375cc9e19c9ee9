"""Health checks of the stack's processes, made from outside, as a client would."""

from collections.abc import Awaitable, Callable

from celery import Celery
from kombu.exceptions import OperationalError

from stack.threads import in_thread
from transport.base import Request, TransportError
from transport.exact import ExactClient

#: Returns whether the process answers; takes a few seconds at most and never raises.
Check = Callable[[], Awaitable[bool]]

#: Timeout of one check, in seconds.
TIMEOUT = 2.0


def answers(url: str) -> Check:
    """A check that GET `url` returns a success status."""

    async def check() -> bool:
        client = ExactClient()
        request = Request(method="GET", url=url, timeout=TIMEOUT, connect_timeout=TIMEOUT)
        try:
            return (await client.send(request)).is_success
        except TransportError:
            return False
        finally:
            await client.close()

    return check


def answers_ping(broker: str, name: str) -> Check:
    """A check that the worker or beat called `name` answers Celery's ping through the broker."""

    def ping() -> bool:
        with Celery("longtake-stack", broker=broker, set_as_current=False) as asker:
            try:
                return bool(asker.control.ping(destination=[name], timeout=TIMEOUT, limit=1))
            except (OperationalError, OSError):
                return False

    async def check() -> bool:
        return await in_thread(ping)

    return check
