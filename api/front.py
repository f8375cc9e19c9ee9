"""Shared by the routes: the process's state, authentication, and a database timeout."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.auth import Keyring
from api.repeats import Answers
from api.waiting import Waiting
from metrics.reading import Reader
from models.database import DatabaseAway
from models.keys import Key
from models.verbs import Hint, What
from tasks.engine import Engine

T = TypeVar("T")

#: Timeout for database work, in seconds; the caller is then told to retry.
ANSWERS_WITHIN = 15.0


class Nudger(Protocol):
    """Sends hints that work is due, without waiting for the broker: `tasks.hints.Hinter`."""

    def nudge(self, what: What, lane: str | None) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Front:
    """The state of one API process."""

    engine: Engine
    keyring: Keyring
    metrics: Reader
    hinter: Nudger
    answers: Answers
    #: Who waits for a job's end.
    waiting: Waiting
    #: The newest migration in this code.
    revision: str
    #: Set after SIGTERM: still serving, but no new traffic wanted.
    is_draining: bool = False

    def send(self, hints: Iterable[Hint]) -> None:
        """Send the hints of a use case whose transaction is committed."""
        for what, lane in hints:
            self.hinter.nudge(what, lane)


def front_of(request: Request) -> Front:
    front: Front = request.app.state.front
    return front


def key_of(request: Request) -> Key:
    """The request's API key; only on a TenantRoute."""
    key: Key = request.state.key
    return key


async def in_time(work: Awaitable[T], *, seconds: float = ANSWERS_WITHIN) -> T:
    """The result of database work; raises DatabaseAway on timeout."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        msg = f"no answer within {seconds:.0f} s"
        raise DatabaseAway(msg) from error


class TenantRoute(APIRoute):
    """A route that requires a valid key, so no handler can forget to check."""

    def authorization(self, request: Request) -> str | None:
        """What stands for the header Authorization; a dialect may have another header."""
        return request.headers.get("authorization")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            keyring = front_of(request).keyring
            request.state.key = await in_time(keyring.identify(self.authorization(request)))
            return await handle(request)

        return guarded
