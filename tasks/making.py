"""The rows of a new job: the one place that makes them, of a request or a line of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from catalog.plan import Plan, duration_route
from models.batch import SEALED
from models.ids import new_id, new_marker
from models.records import Json, as_text
from models.request import VideoRequest
from models.rows.attempts import NewAttempt
from models.rows.jobs import NewJob
from models.rows.outputs import NewOutput
from models.state import AttemptState, JobState, OutputState
from tasks.choosing import Choice
from tasks.engine import Engine
from tasks.pictures import set_aside
from tasks.repeats import Caller

#: Head start of a priority in its tenant's queue, in seconds: a job overtakes only jobs submitted
#: up to so much earlier, so none starves.
HEAD_START = {"low": 0.0, "normal": 600.0, "high": 4200.0}

#: The job's columns that hold the request field of the same name.
_NAMED_ALIKE: Final = tuple(
    column.name for column in fields(NewJob) if column.name in VideoRequest.model_fields
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """The rows of a new job, and what the statement computes its times from, in seconds."""

    #: The first is carried out; later ones are its gate's fallbacks.
    plans: Sequence[Plan]
    job: NewJob
    attempts: list[NewAttempt]
    outputs: list[NewOutput]
    #: The ids of the pictures that its scene names, by parameter.
    pictures: Mapping[str, str]
    deadline_seconds: int
    start_within: int | None
    head_start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a new job is called and whose it is, whatever becomes of its first try to insert it."""

    job: str
    tenant: str
    caller: Caller
    retry_of: str | None = None
    #: The batch that it is a line of, the line's number, and the caller's own name for it.
    batch: str | None = None
    line: int | None = None
    custom_id: str | None = None
    #: The ids of the pictures that its request contains, by parameter.
    pictures: Mapping[str, str] = field(default_factory=dict)


def rows_of(engine: Engine, request: VideoRequest, choice: Choice, names: Names) -> NewRows:
    """All rows of the job that a request becomes by its choice of plans."""
    plan = choice.plans[0]
    first, *others = choice.stored
    stored = set_aside(choice.scene, names.pictures)
    own = {
        "gate": choice.gate,
        "model": plan.asked_model,
        "unknown_policy": request.unknown_policy or engine.settings.unknown_policy,
    }
    job = NewJob(
        id=names.job,
        tenant=names.tenant,
        app_id=names.caller.app_id,
        api_key=names.caller.api_key,
        request_id=new_id("req_vid"),
        retry_of=names.retry_of,
        batch_id=names.batch,
        batch_line=names.line,
        custom_id=names.custom_id,
        state=JobState.PENDING,
        request=request.model_dump(mode="json", exclude_none=True, exclude=choice.left_out(SEALED)),
        plan=first,
        fallbacks={str(number): other for number, other in enumerate(others, 1)} or None,
        metadata_text=as_text(request.metadata),
        scene=engine.vault.seal_json(stored.scene),
        typical_seconds=plan.typical_seconds[1],
        estimated_cost_micros=plan.estimated_cost_micros,
        # The dearest that its gate may move on to.
        reserved_micros=max(each.estimated_cost_micros for each in choice.plans),
        webhook=sealed_webhook(engine, request, names),
        **{name: getattr(request, name) for name in _NAMED_ALIKE} | own,
    )
    attempts, outputs = _attempts_and_outputs(plan, job.id)
    return NewRows(
        plans=choice.plans,
        job=job,
        attempts=attempts,
        outputs=outputs,
        pictures=stored.pictures,
        deadline_seconds=request.deadline_seconds or engine.settings.deadline_seconds,
        start_within=request.start_within_seconds,
        head_start=HEAD_START[request.priority],
    )


def sealed_webhook(engine: Engine, request: VideoRequest, names: Names) -> bytes | None:
    """The job's column of the same name; None without a webhook."""
    if request.webhook_url is None:
        return None
    target: Json = {"url": request.webhook_url, "secret": request.webhook_secret}
    if names.caller.event_fields is not None:
        target["fields"] = names.caller.event_fields(names.job)
    return engine.vault.seal_json(target)


def _attempts_and_outputs(plan: Plan, job_id: str) -> tuple[list[NewAttempt], list[NewOutput]]:
    attempts: list[NewAttempt] = []
    outputs: list[NewOutput] = []
    route = duration_route(
        provider=plan.provider, upstream=plan.upstream, duration_seconds=plan.duration_seconds
    )
    for count in plan.attempt_counts:
        attempt = NewAttempt(
            id=new_id("att"),
            job=job_id,
            provider=plan.provider,
            account=plan.account,
            route=route,
            state=AttemptState.PLANNED,
            marker=new_marker(),
            count=count,
        )
        attempts.append(attempt)
        first = len(outputs)
        outputs.extend(
            NewOutput(
                id=new_id("out"),
                job=job_id,
                attempt=attempt.id,
                position=first + number,
                state=OutputState.EXPECTED,
            )
            for number in range(count)
        )
    return attempts, outputs
