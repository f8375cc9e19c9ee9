"""Whether a process of the stack does its work: asked from outside, the way its users ask."""

from collections.abc import Awaitable, Callable

from celery import Celery
from kombu.exceptions import OperationalError

from stack.threads import in_thread
from transport.base import Request, TransportError
from transport.exact import ExactClient

#: Says whether the process answers; bounded to a few seconds, never raises for one that does not.
Check = Callable[[], Awaitable[bool]]

#: How long one question may take, in seconds.
PATIENCE = 2.0


def answers(url: str) -> Check:
    """A check that GET `url` is answered with 200."""

    async def check() -> bool:
        client = ExactClient()
        request = Request(method="GET", url=url, timeout=PATIENCE, connect_timeout=PATIENCE)
        try:
            return (await client.send(request)).is_success
        except TransportError:
            return False
        finally:
            await client.close()

    return check


def pinged(broker: str, name: str) -> Check:
    """A check that the worker or beat called `name` answers Celery's ping through the broker."""

    def ping() -> bool:
        with Celery("longtake-stack", broker=broker, set_as_current=False) as asker:
            try:
                return bool(asker.control.ping(destination=[name], timeout=PATIENCE, limit=1))
            except (OperationalError, OSError):
                return False

    async def check() -> bool:
        return await in_thread(ping)

    return check
