"""Retry: the request of a job that ended without a video, as a new job that names the first."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from models.database import Connection, fetch_row
from models.failure import RequestRefused, job_deleted, not_found
from models.records import Json, columns
from models.request import VideoRequest
from models.scene import PICTURES
from models.state import JobState, public_status
from models.verbs import Hint
from tasks import jobs
from tasks.engine import Engine
from tasks.pictures import PictureTrouble, whole_scene
from tasks.repeats import Accepted, Caller, first_answer

#: The states of which a job may be retried.
RETRIABLE = frozenset({JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A job with all that its request consisted of."""

    tenant: str
    app_id: str | None
    state: str
    gate: str | None
    deleted_at: datetime | None
    request: Json
    metadata_text: str | None
    scene: bytes = field(repr=False)
    webhook: bytes | None = field(repr=False)


async def retry(
    engine: Engine, job_id: str, *, tenant: str, caller: Caller
) -> tuple[Accepted, tuple[Hint, ...]]:
    """Submit the tenant's failed or cancelled job again, as a new job under the same app.

    It is resolved against today's catalogue and prices. Each retry is another job, unless it
    repeats an Idempotency-Key.

    Raises:
        RequestRefused: `not_found`; `conflict` if the job has not failed and was not cancelled; or
            as `jobs.submit`.
    """
    original = await engine.database.run(
        lambda connection: _original(engine, connection, job_id, tenant=tenant, caller=caller)
    )
    if isinstance(original, Accepted):
        return original, ()
    target = engine.vault.open_json(original.webhook) if original.webhook is not None else None
    own = replace(
        caller,
        app_id=caller.app_id or original.app_id,
        event_fields=_event_fields(job_id, target),
    )
    body = await body_of(engine, original, target)
    request = VideoRequest.from_json(body, tells_values=False)
    return await jobs.submit(engine, request, tenant=tenant, caller=own, retry_of=job_id)


async def _original(
    engine: Engine, connection: Connection, job_id: str, *, tenant: str, caller: Caller
) -> Original | Accepted:
    """The job to retry, or the answer that this Idempotency-Key got before, whatever it is now."""
    if caller.idempotency_key:
        first = await first_answer(engine, connection, tenant, caller)
        if first is not None:
            return first
    sql = f"SELECT {columns(Original)} FROM job WHERE id = %s"  # noqa: S608 - columns of our own
    found = await fetch_row(connection, Original, sql, (job_id,)) if job_id.isprintable() else None
    if found is None or found.tenant != tenant:
        raise not_found()
    if found.deleted_at is not None:
        raise job_deleted(job_id, found.deleted_at)
    if found.state not in RETRIABLE:
        status = public_status(found.state)
        msg = f"job {job_id} is {status}: only a failed or a cancelled job can be retried"
        raise RequestRefused(msg, type="conflict", code="job_not_retriable")
    return found


def _event_fields(first: str, target: Json | None) -> Callable[[str], Json] | None:
    """The fields of its dialect that the first job's event had, with the new job's id in them."""
    fields: Json | None = (target or {}).get("fields")
    if fields is None:
        return None
    return lambda job: {
        name: value.replace(_number(first), _number(job)) if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _number(job_id: str) -> str:
    """What dialects spell ids with."""
    return job_id.removeprefix("job_vid_")


async def body_of(engine: Engine, original: Original, target: Json | None) -> Json:
    """The request as it was submitted, with what was kept sealed of it; `target` is its webhook.

    Raises:
        RequestRefused: `not_found`, because the job was deleted and erased just now.
    """
    try:
        scene = await whole_scene(engine, engine.vault.open_json(original.scene))
    except PictureTrouble:
        raise not_found() from None
    body = {
        name: value
        for name, value in original.request.items()
        # A model that its gate chose is not stored: one that is stored was asked for.
        if name == "model" or not is_default(name, value)
    }
    body |= {name: scene[name] for name in PICTURES if scene.get(name)}
    if original.metadata_text is not None:
        body["metadata"] = json.loads(original.metadata_text)
    if original.gate is not None:  # by its id, since it may have another name now
        body["gate"] = original.gate
    if target is not None:
        body |= {"webhook_url": target["url"], "webhook_secret": target["secret"]}
    return body


def is_default(name: str, value: object) -> bool:
    """Whether the field need not be set; a gate may forbid requests to set it."""
    field = VideoRequest.model_fields.get(name)
    return field is not None and not field.is_required() and field.default == value
