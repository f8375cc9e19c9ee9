"""Who works: what workers answer when they are called, and what database and broker hold."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from models.database import Connection, fetch_row, fetch_rows
from tasks.engine import Engine
from tasks.queues import Queue

if TYPE_CHECKING:
    from celery import Celery

log = structlog.get_logger()

#: The command that workers answer: `worker.about`.
ABOUT: Final = "longtake_about"
#: Seconds in which workers answer, and in which the broker must be reached.
WITHIN: Final = 0.7
_REACHED_WITHIN: Final = 2
#: Seconds for which an answer is shown again, and for which a request waits for a new one.
FRESH: Final = 10.0
PATIENCE: Final = 4.0
#: Workers that are shown.
MOST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker's process, by its own words."""

    name: str
    pid: int
    #: Seconds since it started.
    uptime: int
    #: Messages that it works on at a time; None: unknown.
    slots: int | None
    #: Messages that it has begun since then.
    begun: int
    queues: tuple[str, ...]
    #: The newest migration in its code, and versions.
    schema: str
    celery: str
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """What one call of all workers brought."""

    at: datetime
    workers: Sequence[Worker] = ()
    #: Workers that answered something else: of an older version.
    silent: Sequence[str] = ()
    #: Messages that wait in each queue; None where the broker does not say.
    messages: Mapping[str, int | None] = field(default_factory=dict)
    #: Why the broker could not be asked.
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pumps:
    """Claims of one kind of work that are in force."""

    what: str
    pumps: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the database knows of whoever works with it."""

    now: datetime
    server: str
    schema: str
    #: Connections of ours: all, those in a statement or transaction, and the most of the server.
    connections: int
    busy: int
    most: int
    pumps: Sequence[Pumps]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    now: datetime
    server: str
    schema: str
    connections: int
    busy: int
    most: int


_SERVER = """
SELECT now() AS now, current_setting('server_version') AS server,
       (SELECT version_num FROM alembic_version) AS schema,
       count(*)::int AS connections, count(*) FILTER (WHERE state <> 'idle')::int AS busy,
       current_setting('max_connections')::int AS most
FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'longtake'
"""
_PUMPS = """
SELECT what, count(DISTINCT lease)::int AS pumps, count(*)::int AS rows
FROM due WHERE lease IS NOT NULL AND at > now() GROUP BY what ORDER BY what
"""


async def read_held(engine: Engine) -> Held:
    """What the database knows now."""

    async def work(connection: Connection) -> Held:
        server = await fetch_row(connection, _Server, _SERVER)
        assert server is not None  # noqa: S101 - an aggregate
        return Held(
            now=server.now,
            server=server.server,
            schema=server.schema,
            connections=server.connections,
            busy=server.busy,
            most=server.most,
            pumps=tuple(await fetch_rows(connection, Pumps, _PUMPS)),
        )

    return await engine.database.run(work)


def call(app: "Celery | None" = None) -> Roll:
    """Call all workers by the broker, and count what waits there; takes about WITHIN.

    It blocks, so never in an event loop. Raises nothing for a broker that is away.
    """
    # Importing Celery's app reads its configuration, so not before somebody asks.
    from kombu.exceptions import KombuError, OperationalError  # noqa: PLC0415 - as above
    from redis import RedisError  # noqa: PLC0415 - as above

    from tasks.queue import app as ours  # noqa: PLC0415 - as above

    app = app or ours
    now = datetime.now().astimezone()
    with app.connection_for_write() as connection:
        # RabbitMQ's refusals, as of a wrong password, are none of kombu's own errors.
        of_transport = (*connection.connection_errors, *connection.channel_errors)
        away: tuple[type[BaseException], ...]
        away = (KombuError, OperationalError, RedisError, OSError, *of_transport)
        try:
            connection.ensure_connection(max_retries=1, timeout=_REACHED_WITHIN)
            replies = app.control.broadcast(
                ABOUT, reply=True, timeout=WITHIN, limit=MOST, connection=connection
            )
            messages = {str(queue): _waiting(connection, queue) for queue in Queue}
        except away as error:
            kind = type(error).__name__
            log.warning("workers.not_called", error=kind)
            return Roll(at=now, failure=f"the broker does not answer ({kind})")
    workers, silent = list[Worker](), list[str]()
    for name, reply in sorted(pair for each in replies or () for pair in each.items()):
        worker = read_reply(name, reply)
        if worker is None:
            silent.append(name)
        else:
            workers.append(worker)
    return Roll(at=now, workers=workers, silent=silent, messages=messages)


def read_reply(name: str, reply: Any) -> Worker | None:
    """A worker from its answer; None if it is none of ours."""
    match reply:
        case {
            "pid": int(pid),
            "uptime": int(uptime),
            "begun": int(begun),
            "queues": list(queues),
            "schema": str(schema),
            "celery": str(celery),
            "python": str(python),
        }:
            slots = reply.get("slots")
            return Worker(
                name=name,
                pid=pid,
                uptime=uptime,
                slots=slots if isinstance(slots, int) else None,
                begun=begun,
                queues=tuple(map(str, queues)),
                schema=schema,
                celery=celery,
                python=python,
            )
        case _:
            return None


def _waiting(connection: Any, queue: Queue) -> int | None:
    """The queue's messages that no worker has taken; 0 for one that is not there."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue.value, passive=True).message_count)
    except connection.channel_errors:
        return 0
    finally:
        channel.close()


@dataclass(slots=True)
class RollCall:
    """Calls the workers for whoever asks: once at a time, and not again while the answer is fresh.

    Use it in one event loop. A broker that hangs holds up one thread and no more.
    """

    ask: Callable[[], Roll] = call
    clock: Callable[[], float] = time.monotonic
    _latest: Roll | None = field(init=False, default=None)
    _heard_at: float = field(init=False, default=0.0)
    _asking: asyncio.Task[Roll] | None = field(init=False, default=None)

    async def latest(self, *, patience: float = PATIENCE) -> Roll | None:
        """The newest answer; an old one, or None, if there is no new one within `patience`."""
        if self._latest is not None and self.clock() - self._heard_at < FRESH:
            return self._latest
        if self._asking is None:
            self._asking = asyncio.create_task(asyncio.to_thread(self.ask))
        task = self._asking
        await asyncio.wait({task}, timeout=patience)
        if task.done() and task is self._asking:
            self._asking, self._heard_at = None, self.clock()
            self._latest = task.result()
        return self._latest
