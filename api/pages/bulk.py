"""Several jobs at once: a page that names their number and money, and then what became of them."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, in_time, key_of
from api.native.listing import MAX_LIMIT
from api.pages.job import caller_of_form
from api.pages.jobs import ENTRY, JobLine
from api.pages.rendering import page
from api.pages.visits import ROOT, PageRoute, form_of, only_field
from models.failure import RequestRefused
from models.state import FINAL_JOB_STATES
from models.verbs import Hint
from tasks import jobs
from tasks.listing import read_own
from tasks.retry import RETRIABLE
from tasks.retry import retry as retry_job
from tasks.view import ShownJob

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_Hints = Sequence[Hint]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """What may be done with several jobs."""

    name: str
    #: Which jobs it changes.
    is_for: Callable[[ShownJob], bool]
    #: What is at stake: money that is freed, or may be spent.
    money: Callable[[ShownJob], int]
    run: Callable[[Request, str], Awaitable[_Hints]]


async def _cancel(request: Request, job_id: str) -> _Hints:
    engine, tenant = front_of(request).engine, key_of(request).tenant
    _, hints = await in_time(jobs.cancel(engine, job_id, tenant=tenant))
    return hints


async def _retry(request: Request, job_id: str) -> _Hints:
    engine, tenant = front_of(request).engine, key_of(request).tenant
    caller = caller_of_form(request, job_id, {"retry_of": job_id})
    _, hints = await in_time(retry_job(engine, job_id, tenant=tenant, caller=caller))
    return hints


_ACTIONS: Final = {
    "cancel": _Action(
        name="cancel",
        is_for=lambda job: job.state not in FINAL_JOB_STATES,
        money=lambda job: job.estimated_cost_micros,
        run=_cancel,
    ),
    "retry": _Action(
        name="retry",
        is_for=lambda job: job.state in RETRIABLE,
        money=lambda job: job.estimated_cost_micros,
        run=_retry,
    ),
}


@router.post(f"{ROOT}/jobs/confirm")
async def confirm(request: Request) -> Response:
    """Which of the chosen jobs would change, and what that means in money; nothing changes yet."""
    action, ids = _chosen(request)
    found = await in_time(read_own(front_of(request).engine, ids, tenant=key_of(request).tenant))
    meant = [job for job in found if action.is_for(job)]
    return page(
        request,
        "confirm.html",
        title=f"{action.name.capitalize()} jobs",
        entry=ENTRY,
        action=action.name,
        lines=[JobLine(job) for job in meant],
        left_out=len(ids) - len(meant),
        micros=sum(map(action.money, meant)),
        once=secrets.token_hex(8),
    )


@router.post(f"{ROOT}/jobs/carry-out")
async def carry_out(request: Request) -> Response:
    """Do it, one job after the other; what is refused is named, and the others are done."""
    action, ids = _chosen(request)
    done, refused = list[str](), list[tuple[str, RequestRefused]]()
    for job_id in ids:
        try:
            hints = await action.run(request, job_id)
        except RequestRefused as refusal:
            refused.append((job_id, refusal))
        else:
            front_of(request).send(hints)
            done.append(job_id)
    return page(
        request,
        "carried_out.html",
        title="Done",
        entry=ENTRY,
        action=action.name,
        done=done,
        refused=refused,
    )


def _chosen(request: Request) -> tuple[_Action, list[str]]:
    form = form_of(request)
    given = only_field(form, "action") or ""
    if given not in _ACTIONS:
        msg = f"action must be one of {', '.join(_ACTIONS)} (it is {given[:64]!r})"
        raise RequestRefused(msg, param="action")
    ids = list(dict.fromkeys(form.get("job", ())))
    if not 1 <= len(ids) <= MAX_LIMIT:
        msg = (
            f"job must be given 1 to {MAX_LIMIT} times: choose jobs (it is given {len(ids)} times)"
        )
        raise RequestRefused(msg, param="job")
    return _ACTIONS[given], ids
