"""Announces webhook events: renders each event once, inserts its delivery and makes it due."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import structlog

from models import due
from models.advance import tell
from models.database import Connection
from models.ids import new_id
from models.records import Json, columns, placeholders, values
from models.rows.deliveries import NewDelivery
from models.state import DeliveryState, JobState
from models.vault import Vault, VaultError
from models.verbs import What
from tasks.engine import Engine
from tasks.view import WEBHOOK_LINK_LIVES, ShownJob, job_view, read_jobs
from webhooks.events import EventType, render

log = structlog.get_logger()

#: The kind of the job event that records a webhook event that could not be made.
UNANNOUNCED: Final = "webhook.unannounced"
#: The event of each final state.
EVENT_TYPES: Final[Mapping[JobState, EventType]] = {
    JobState.COMPLETE: EventType.VIDEO_COMPLETED,
    JobState.FAILED: EventType.VIDEO_FAILED,
    JobState.CANCELLED: EventType.VIDEO_CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A webhook event, not rendered yet."""

    type: EventType
    at: datetime
    data: Json = field(repr=False)
    tenant: str
    #: The sealed {"url", "secret"} of its receiver.
    target: bytes = field(repr=False)
    #: What it belongs to; both are None for an event that belongs to neither.
    job: str | None = None
    batch: str | None = None


def rendered(event: Event, vault: Vault) -> NewDelivery:
    """The event's delivery.

    Raises:
        VaultError: the target can't be opened.
    """
    return NewDelivery(
        id=new_id("evt"),
        job=event.job,
        batch=event.batch,
        tenant=event.tenant,
        type=event.type,
        host=_host_of(vault.open_json(event.target)["url"]),
        state=DeliveryState.PENDING,
        target=event.target,
        body=vault.seal(render(event.type, event.at, event.data)),
    )


async def announce(connection: Connection, deliveries: Sequence[NewDelivery]) -> None:
    """Insert deliveries and make them due."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            f"INSERT INTO delivery ({columns(NewDelivery)}) VALUES ({placeholders(NewDelivery)})",  # noqa: S608 - columns of our own
            [values(delivery) for delivery in deliveries],
        )
    rows = [due.Row(id=each.id, lane=each.host, tenant=each.tenant) for each in deliveries]
    await due.put(connection, What.DELIVER, rows)


async def announce_end(
    engine: Engine, connection: Connection, to: JobState, jobs: Sequence[str]
) -> None:
    """Announce the final state of each job that has a webhook."""
    ended = [job for job in await read_jobs(connection, jobs) if job.webhook]
    if not ended:
        return
    made = [await _delivery(engine, connection, to, job) for job in ended]
    await announce(connection, [delivery for delivery in made if delivery])


async def _delivery(
    engine: Engine, connection: Connection, to: JobState, job: ShownJob
) -> NewDelivery | None:
    """The delivery of a job's event. None if it can't be made, since the job ends all the same.

    The job's events then say why: its secrets can't be opened, or its row can't be rendered.
    """
    try:
        return rendered(_end_of(engine, to, job), engine.vault)
    except Exception as error:
        code = "secret_unreadable" if isinstance(error, VaultError) else "event_not_rendered"
        log.exception("webhook.unannounced", job=job.id, code=code)
        await tell(connection, UNANNOUNCED, [(job.id, {"code": code})])
        return None


def _end_of(engine: Engine, to: JobState, job: ShownJob) -> Event:
    if job.webhook is None or job.finished_at is None:
        msg = "only a final job with a webhook has an event"
        raise ValueError(msg)
    view = job_view(
        job, api_url=engine.settings.api_url, vault=engine.vault, link_lives=WEBHOOK_LINK_LIVES
    )
    return Event(
        type=EVENT_TYPES[to],
        at=job.finished_at,
        data=view | engine.vault.open_json(job.webhook).get("fields", {}),
        tenant=job.tenant,
        target=job.webhook,
        job=job.id,
    )


def _host_of(url: str) -> str:
    """Host and port: the delivery's lane."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
