"""What the routes work with, and what comes before each of them: a good key, an answer in time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.auth import Keyring
from models.database import DatabaseAway
from models.keys import Key
from models.state import What
from tasks.engine import Engine

T = TypeVar("T")

#: How long a caller waits for the database before it is told to come back, in seconds.
ANSWERS_WITHIN = 15.0


class Nudger(Protocol):
    """Sends hints that work is due, without waiting for the broker: `tasks.hints.Hinter`."""

    def nudge(self, what: What, lane: str | None) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Front:
    """Everything that one API process holds."""

    engine: Engine
    keyring: Keyring
    hinter: Nudger
    #: The newest migration that this code knows.
    revision: str
    #: Set once this process has been told to stop: it still answers, but wants no more traffic.
    is_draining: bool = False


def front_of(request: Request) -> Front:
    front: Front = request.app.state.front
    return front


def key_of(request: Request) -> Key:
    """Whose request it is; only under a TenantRoute."""
    key: Key = request.state.key
    return key


async def in_time(work: Awaitable[T], *, seconds: float = ANSWERS_WITHIN) -> T:
    """The result of database work, or DatabaseAway when it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        msg = f"no answer within {seconds:.0f} s"
        raise DatabaseAway(msg) from error


class TenantRoute(APIRoute):
    """A route that is entered with a good key only: no handler can forget to ask."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            keyring = front_of(request).keyring
            authorization = request.headers.get("authorization")
            request.state.key = await in_time(keyring.identify(authorization))
            return await handle(request)

        return guarded
