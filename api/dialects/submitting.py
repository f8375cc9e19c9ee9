"""A dialect's submission: fields of the native request, adapted and accepted as a job."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from starlette.requests import Request

from api.answers import limit_headers
from api.body import compared, off_loop
from api.caller import caller_of
from api.front import front_of, in_time, key_of
from api.repeats import watched
from catalog.adapt import Adapted, adapt
from models.failure import RequestRefused
from models.records import Json
from tasks import gates, jobs
from tasks.engine import Engine
from tasks.repeats import Accepted, Caller, first_or_refuse
from tasks.view import LINK_LIVES, ShownJob, job_view

#: The response header that lists what is made otherwise than it was asked for.
ADAPTED: Final = "Longtake-Adapted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """An accepted job, and what was changed so that it can be made."""

    accepted: Accepted
    #: None for a repeat of what could not be accepted today.
    adapted: Adapted | None = None

    @property
    def view(self) -> Json:
        """The native view of the job, which states what is delivered."""
        return self.accepted.view

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the dialect's response."""
        repeated = {"Idempotent-Replayed": "true"} if self.accepted.is_repeat else {}
        has_changes = self.adapted is not None and self.adapted.changes
        changed = {ADAPTED: str(self.adapted)} if has_changes else {}
        return repeated | changed | limit_headers(self.accepted.allowance)


async def submit(
    request: Request,
    fields: Mapping[str, Any],
    *,
    body: Any,
    app_id: str | None = None,
    event_fields: Callable[[str], Json] | None = None,
) -> Submitted:
    """Adapt `fields` (see `catalog.adapt`) and accept them as a job of the key's tenant.

    `body` is the request's whole body, which a repeat is compared by, with an Idempotency-Key or
    without one (`api.repeats`); `app_id` is what it names, if the dialect has such a field;
    `event_fields` makes what the job's webhook event has beside its view, from the job's id.

    Raises:
        RequestRefused: it can't be carried out; no row was written.
        DatabaseAway: PostgreSQL can't be reached; nothing was accepted.
    """
    front, key = front_of(request), key_of(request)
    caller = replace(await _caller(request, body, app_id), event_fields=event_fields)
    try:
        work = partial(off_loop, request)
        fitted = await adapted(front.engine, fields, tenant=key.tenant, run=work)
    except RequestRefused as refusal:  # a repeat is answered even if the model was removed since
        return await _repeated(request, refusal, caller)
    accepted, hints = await in_time(
        jobs.submit(front.engine, fitted.request, tenant=key.tenant, caller=caller)
    )
    front.send(hints)
    return Submitted(accepted=accepted, adapted=fitted)


async def repeat_of(request: Request, refusal: RequestRefused, *, body: Any) -> Submitted:
    """The answer to what this request repeats, though `refusal` says why it is refused today.

    Raises:
        RequestRefused: `refusal`, if it repeats nothing; or that the first one's job was deleted.
        DatabaseAway: PostgreSQL can't be reached.
    """
    return await _repeated(request, refusal, await _caller(request, body))


async def _caller(request: Request, body: Any, app_id: str | None = None) -> Caller:
    body = await compared(request, body)
    caller = caller_of(request.headers, body, api_key=key_of(request).id, app_id=app_id)
    return watched(request.scope, caller, body, by_default=True)


async def _repeated(request: Request, refusal: RequestRefused, caller: Caller) -> Submitted:
    engine, tenant = front_of(request).engine, key_of(request).tenant
    first = await in_time(first_or_refuse(engine, refusal, tenant=tenant, caller=caller))
    return Submitted(accepted=first)


async def _at_once(work: Callable[[], Adapted]) -> Adapted:
    return work()


async def adapted(
    engine: Engine,
    fields: Mapping[str, Any],
    *,
    tenant: str,
    run: Callable[[Callable[[], Adapted]], Awaitable[Adapted]] = _at_once,
) -> Adapted:
    """The request nearest to `fields` that can be made, by its gate if it names one.

    `run` carries it out: of large fields, off the event loop.

    Raises:
        RequestRefused: the gate is unknown, or as `catalog.adapt`.
    """
    models: list[str] = []
    if (name := fields.get("gate")) is not None:
        gate = await in_time(gates.read(engine, name, tenant=tenant))
        models = [gate.routing["model"], *gate.routing["fallback_models"]]
    return await run(
        partial(adapt, fields, catalog=engine.catalog, accounts=engine.accounts, gate_models=models)
    )


async def read_own(request: Request, job_id: str) -> ShownJob:
    """The job, if it is the tenant's; raises RequestRefused (`not_found`)."""
    return await in_time(jobs.read(front_of(request).engine, job_id, tenant=key_of(request).tenant))


def view_of(request: Request, job: ShownJob, *, link_lives: int = LINK_LIVES) -> Json:
    """The native view of a job, with links that live for `link_lives` seconds."""
    engine = front_of(request).engine
    return job_view(job, api_url=engine.settings.api_url, vault=engine.vault, link_lives=link_lives)
