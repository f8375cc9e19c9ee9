"""Shared by the routes: the process's state, authentication, and a database timeout."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.admission import admitted
from api.auth import Keyring
from api.large_bodies import LargeBodies
from api.numbers import HttpNumbers
from api.repeats import Answers
from api.spool import Spool
from api.streams import Streams
from api.watching import Watcher
from metrics.reading import Reader
from models.database import DatabaseAway
from models.failure import RequestRefused
from models.keys import Key
from models.verbs import Hint, What
from tasks import glances, history
from tasks.batches import following
from tasks.engine import Engine
from tasks.stills import StillsMaker
from tasks.workers import RollCall

T = TypeVar("T")

#: Timeout for all database work of a request, in seconds; the caller is then told to retry.
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
    numbers: HttpNumbers = field(default_factory=HttpNumbers)
    hinter: Nudger
    answers: Answers
    #: The jobs that requests wait for or follow.
    job_watcher: Watcher[history.Asked, history.Seen]
    #: The batches that requests follow.
    batch_watcher: Watcher[following.Asked, following.Seen]
    #: What open pages show.
    page_watcher: Watcher[glances.Asked, glances.Seen]
    streams: Streams = field(default_factory=Streams)
    #: The newest migration in this code.
    revision: str
    #: Calls the workers.
    roll_call: RollCall = field(default_factory=RollCall)
    #: Receives batches.
    spool: Spool = field(default_factory=Spool)
    #: Makes pictures of stored videos.
    stills: StillsMaker
    #: Where other large bodies have their places.
    large_bodies: LargeBodies = field(default_factory=LargeBodies)
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


@dataclass(slots=True)
class _Waited:
    """How long one request has waited for its database work, in seconds."""

    seconds: float = 0.0


_waited: ContextVar[_Waited | None] = ContextVar("waited", default=None)
#: Works that were given up and have yet to end; a task that nothing refers to may vanish.
_given_up: Final[set[asyncio.Future[Any]]] = set()


def begin_request() -> None:
    """Begin a request, which has waited for nothing yet."""
    _waited.set(_Waited())


async def in_time(work: Coroutine[Any, Any, T], *, seconds: float = ANSWERS_WITHIN) -> T:
    """The result of database work; the time that others of the request took counts as well.

    Work that is given up is cancelled, but its end is not waited for: to cancel a statement of a
    server that does not answer takes psycopg ten seconds.

    Raises:
        DatabaseAway: there was no answer in time.
    """
    waited = _waited.get() or _Waited()
    left = seconds - waited.seconds
    if left <= 0:
        work.close()
        raise _unanswered(seconds)
    began, task = _now(), asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=left)
    finally:
        waited.seconds += _now() - began
        if not task.done():
            _give_up(task)
    if task in _given_up:
        raise _unanswered(seconds)
    return task.result()


def _now() -> float:
    return time.monotonic()


def _unanswered(seconds: float) -> DatabaseAway:
    return DatabaseAway(f"no answer within {seconds:.0f} s")


def _give_up(task: asyncio.Task[Any]) -> None:
    _given_up.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()  # seen: nobody waits for it any longer


async def identified(request: Request, authorization: str | None) -> Key:
    """The key in a header; raises as `Keyring.identify`, or rate_limited after too many wrong ones.

    One that was right a moment ago waits for nobody.
    """
    keyring, let_in = front_of(request).keyring, admitted(request)
    if authorization is None or keyring.remembers(authorization):
        key = await in_time(keyring.identify(authorization))
        let_in.known()
        return key

    async def look_up() -> Key:
        return await let_in.in_turn(lambda: keyring.identify(authorization))

    return await let_in.proved(lambda: in_time(look_up()))


def refuse_unless_admin(key: Key, *, what: str) -> None:
    """Raise RequestRefused if the key is no admin's; `what` begins the message."""
    if not key.is_admin:
        msg = f"{what} need an admin key: longtake keys create --admin"
        raise RequestRefused(msg, type="authentication_error", param="Authorization")


class TenantRoute(APIRoute):
    """A route that requires a valid key, so no handler can forget to check."""

    def authorization(self, request: Request) -> str | None:
        """What stands for the header Authorization; a dialect may have another header."""
        return request.headers.get("authorization")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request.state.key = await identified(request, self.authorization(request))
            return await handle(request)

        return guarded


class AdminRoute(TenantRoute):
    """A route for operators: it requires an admin's key, of whichever tenant."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = APIRoute.get_route_handler(self)

        async def guarded(request: Request) -> Response:
            request.state.key = await identified(request, self.authorization(request))
            refuse_unless_admin(request.state.key, what="operations")
            return await handle(request)

        return guarded
