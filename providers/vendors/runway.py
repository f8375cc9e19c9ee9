"""Runway's developer API: https://docs.dev.runwayml.com, as in runwayml 5.24.0."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import (
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
from providers.body import without_none
from providers.polling import get_each
from transport.base import Response

#: The API version this module implements; required in every request.
VERSION: Final = "2024-11-06"
#: One credit costs $0.01 (docs.dev.runwayml.com/guides/pricing).
MICROS_PER_CREDIT: Final = 10_000
#: What "You do not have enough credits to run this task." has and no other refusal.
NO_CREDITS: Final = "enough credits"
#: The SDK's request timeout, in seconds; a POST may contain a 5 MB image.
SUBMIT_TIMEOUT: Final = 60.0

#: Every status of TaskRetrieveResponse in runwayml 5.24.0.
PHASES: Final[Mapping[str, Phase]] = {
    "PENDING": Phase.QUEUED,
    "THROTTLED": Phase.QUEUED,  # accepted, held back by the account's concurrency limit
    "RUNNING": Phase.RUNNING,
    "SUCCEEDED": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED,
}

#: Families of `failureCode`, most specific first; docs.dev.runwayml.com/errors/task-failures.
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
    """Text and image to video; reports progress and the charge.

    A result's URL is signed and needs no key.
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
            "poll_floor": "docs.dev.runwayml.com: at most every 5 seconds",
            "refusals": "docs.dev.runwayml.com/errors: 429 limit reached, 503 shedding load",
            "result_lives": "runwayml 5.24.0 types: links expire within 24 to 48 hours",
        },
    )

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:  # noqa: ARG002 - the key does not expire
        """The bearer key, and the required version header."""
        return {
            "authorization": f"Bearer {account.credentials['RUNWAYML_API_SECRET']}",
            "x-runway-version": VERSION,
        }

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1/text_to_video, or /v1/image_to_video with a first frame."""
        kind = "image_to_video" if ask.scene.image else "text_to_video"
        response = yield Call(
            method="POST", path=f"/v1/{kind}", json=_body(ask), paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/tasks/{id}; 404 (deleted) is omitted."""
        return get_each(operation_ids, path=_path, read=_update)

    def cancel(self, operation_id: str) -> Flow[None]:
        """DELETE /v1/tasks/{id}: 204; 404 if already deleted."""
        yield Call(method="DELETE", path=_path(operation_id))

    def explain(self, response: Response) -> Failure:
        """`{"error": "…"}` is text; 429 is a daily or monthly limit and passes with time.

        Of credits that are used up only the text of a 400 tells.
        """
        words = failures.words_of(response, "error")
        failed = failures.from_answer(response, title="Runway", words=words)
        if response.status == HTTPStatus.BAD_REQUEST and words and NO_CREDITS in words.lower():
            return replace(failed, fault=Fault.QUOTA, code=failures.CODES[Fault.QUOTA])
        return failed


def _path(operation_id: str) -> str:
    return f"/v1/tasks/{answers.segment(operation_id)}"


def _body(ask: Ask) -> dict[str, Any]:
    scene = ask.scene
    body = {
        "model": ask.upstream,
        "promptText": scene.prompt,
        "promptImage": _pictures(ask),
        "ratio": f"{ask.width}:{ask.height}",
        "duration": ask.duration_seconds,
        "seed": scene.seed,
        "audio": scene.audio,
        "negativePrompt": scene.negative_prompt,
        "cfgScale": scene.cfg_scale,
    }
    return without_none(body)


def _pictures(ask: Ask) -> str | list[dict[str, str]] | None:
    scene = ask.scene
    if scene.image is None or scene.last_image is None:
        return scene.image
    return [
        {"uri": scene.image, "position": "first"},
        {"uri": scene.last_image, "position": "last"},
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
        msg = "'output' is empty although the task succeeded"
        raise answers.Undocumented(msg)
    return videos


def _cost(task: object) -> int | None:
    """The task's cost in micros; absent in an older API version."""
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
    """The fault of a failure code's family; undocumented codes stay UNKNOWN, for the operator."""
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
