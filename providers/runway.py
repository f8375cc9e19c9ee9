"""Runway's developer API: https://docs.dev.runwayml.com, as runwayml 5.24.0 speaks it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import (
    NOT_FOUND,
    Accepted,
    Account,
    Ask,
    Call,
    Capabilities,
    Flow,
    Phase,
    Provider,
    Update,
    Video,
)
from providers.polling import get_each
from transport.base import Response

#: The version of the API that this module was written against; the API wants it in every request.
VERSION: Final = "2024-11-06"
#: One credit costs $0.01 (docs.dev.runwayml.com/guides/pricing).
MICROS_PER_CREDIT: Final = 10_000
#: What the SDK allows a request, in seconds; a POST may carry 5 MB of picture.
SUBMIT_TIMEOUT: Final = 60.0

#: Every status of TaskRetrieveResponse in runwayml 5.24.0.
PHASES: Final[Mapping[str, Phase]] = {
    "PENDING": Phase.QUEUED,
    "THROTTLED": Phase.QUEUED,  # accepted, held back by the account's own concurrency limit
    "RUNNING": Phase.RUNNING,
    "SUCCEEDED": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED,
}

#: Families of `failureCode`, the most particular first; docs.dev.runwayml.com/errors/task-failures.
FAILURE_FAMILIES: Final[tuple[tuple[str, Fault], ...]] = (
    ("SAFETY", Fault.MODERATED),
    ("INPUT_PREPROCESSING.SAFETY", Fault.MODERATED),
    ("INPUT_PREPROCESSING.INTERNAL", Fault.TRANSIENT),
    ("INPUT_PREPROCESSING", Fault.REFUSED),
    ("INPUT", Fault.REFUSED),
    ("ASSET", Fault.REFUSED),
    ("INTERNAL", Fault.TRANSIENT),
)


class Runway(Provider):
    """Text and image to video; the only vendor here that reports progress and what it charged.

    A result's link is signed and needs no key.
    """

    name: ClassVar[str] = "runway"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("RUNWAYML_API_SECRET",),)
    base_variable: ClassVar[str] = "RUNWAYML_BASE_URL"
    default_base: ClassVar[str] = "https://api.dev.runwayml.com"
    capabilities: ClassVar[Capabilities] = Capabilities(
        progress=True,
        cancel=True,
        refusals=Capabilities().refusals | {503},
        poll_floor=5.0,
        result_lives=86_400.0,
        sources={
            "cancel": "DELETE /v1/tasks/{id}; runwayml 5.24.0",
            "cancelled_costs": "docs.dev.runwayml.com: a RUNNING task is not refunded",
            "look_up": "no listing of tasks, no external id in runwayml 5.24.0",
            "poll_floor": "docs.dev.runwayml.com: not more often than every 5 seconds",
            "refusals": "docs.dev.runwayml.com/errors: 429 limit reached, 503 shedding load",
            "result_lives": "runwayml 5.24.0 types: links expire within 24 to 48 hours",
        },
    )

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - the key does not expire
        """The bearer key, and the version header that the API refuses to do without."""
        return {
            "authorization": f"Bearer {account.credentials['RUNWAYML_API_SECRET']}",
            "x-runway-version": VERSION,
        }

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1/text_to_video, or /v1/image_to_video when there is a picture to begin with."""
        kind = "image_to_video" if ask.image else "text_to_video"
        response = yield Call(
            method="POST", path=f"/v1/{kind}", json=_body(ask), paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/tasks/{id}; a deleted task is 404 and so missing from the result."""
        return get_each(operation_ids, path=_path, read=_update)

    def cancel(self, operation_id: str) -> Flow[None]:
        """DELETE /v1/tasks/{id}: 204, or 404 for a task that is already deleted."""
        yield Call(method="DELETE", path=_path(operation_id), accept=frozenset({NOT_FOUND}))

    def explain(self, response: Response) -> Failure:
        """`{"error": "…"}` in words; 429 is a limit per day or month and passes with time."""
        return failures.from_answer(
            response, title="Runway", words=failures.words_of(response, "error")
        )


def _path(operation_id: str) -> str:
    return f"/v1/tasks/{answers.segment(operation_id)}"


def _body(ask: Ask) -> dict[str, Any]:
    body = {
        "model": ask.upstream,
        "promptText": ask.prompt,
        "promptImage": _pictures(ask),
        "ratio": f"{ask.width}:{ask.height}",
        "duration": ask.duration_seconds,
        "seed": ask.seed,
        "audio": ask.audio,
        "negativePrompt": ask.negative_prompt,
        "cfgScale": ask.cfg_scale,
    }
    return {field: value for field, value in body.items() if value is not None}


def _pictures(ask: Ask) -> str | list[dict[str, str]] | None:
    if ask.image is None or ask.last_image is None:
        return ask.image
    return [
        {"uri": ask.image, "position": "first"},
        {"uri": ask.last_image, "position": "last"},
    ]


def _update(task: object) -> Update:
    """One task; `cost` is on final ones, `progress` (0..1) on running ones."""
    phase = answers.phase(task, "status", among=PHASES)
    progress = answers.optional_number(task, "progress") if phase is Phase.RUNNING else None
    return Update(
        phase=phase,
        progress=None if progress is None else min(progress, 1.0),
        videos=_videos(task) if phase is Phase.SUCCEEDED else (),
        failure=_failure(task, phase),
        cost_micros=_cost(task) if phase.is_final else None,
    )


def _videos(task: object) -> tuple[Video, ...]:
    videos = tuple(Video(url=answers.link(url)) for url in answers.items(task, "output"))
    if not videos:
        msg = "its 'output' is empty although it succeeded"
        raise answers.Undocumented(msg)
    return videos


def _cost(task: object) -> int | None:
    """What the task costs in micros; an older API version says nothing."""
    if (cost := answers.optional(task, "cost")) is None:
        return None
    credits_charged = answers.optional_number(cost, "credits")
    return None if credits_charged is None else round(credits_charged * MICROS_PER_CREDIT)


def _failure(task: object, phase: Phase) -> Failure | None:
    if phase is Phase.CANCELLED:
        return failures.failure(Fault.GONE, "the task was cancelled or deleted at Runway")
    if phase is not Phase.FAILED:
        return None
    code = answers.optional_text(task, "failureCode")
    words = answers.optional_text(task, "failure")
    return failures.of_operation(_fault(code), title="Runway", code=code, words=words)


def _fault(code: str | None) -> Fault:
    """The family of a failure code; one that no document has stays UNKNOWN, for the operator."""
    if code is None:
        return Fault.UNKNOWN
    return next(
        (
            fault
            for family, fault in FAILURE_FAMILIES
            if code == family or code.startswith(f"{family}.")
        ),
        Fault.UNKNOWN,
    )
