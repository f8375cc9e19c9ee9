"""Kling's current endpoints, with the model in the path: https://kling.ai/document-api (2026)."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

from providers import answers, callbacks
from providers.base import (
    NOT_FOUND,
    Accepted,
    Ask,
    Call,
    Capabilities,
    Flow,
    Found,
    LookUp,
    Phase,
    Update,
    Video,
)
from providers.body import without_none
from providers.vendors.kling.shared import (
    SOURCES,
    SUBMIT_TIMEOUT,
    KlingApi,
    answer_of,
    picture,
    task_failure,
)
from transport.base import Response

#: Our choice, as the vendor documents no limit: 50 ids keep the URL near 1 kB.
POLL_MANY: Final = 50

#: Every task status; the older endpoints use `succeed` for `succeeded`.
PHASES: Final[Mapping[str, Phase]] = {
    "submitted": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}


class Kling(KlingApi):
    """Text and image to video with Kling 3: batch polls, look-up by external id.

    These endpoints take the API key itself, not a signed token.
    """

    name: ClassVar[str] = "kling"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("KLING_API_KEY",),)
    capabilities: ClassVar[Capabilities] = Capabilities(
        look_up=(LookUp.EXTERNAL_ID, LookUp.CALLBACK),
        look_up_delay=10.0,
        poll_many=POLL_MANY,
        poll_floor=5.0,
        result_lives=2_592_000.0,
        sources={**SOURCES, "poll_many": "kling.ai/document-api: task_ids takes a batch"},
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /text-to-video/{model}, or /image-to-video/{model} with a first frame."""
        kind = "image-to-video" if ask.scene.image else "text-to-video"
        path = f"/{kind}/{answers.segment(ask.upstream)}"
        response = yield Call(
            method="POST", path=path, json=_body(ask), paid=True, timeout=SUBMIT_TIMEOUT
        )
        task = answers.record(answer_of(response), "data")
        return Accepted(operation_id=answers.identifier(task, "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /tasks?task_ids=a,b: unknown ids are missing from the list."""
        response = yield _tasks_named(task_ids=",".join(operation_ids))
        if response.status == NOT_FOUND:
            if len(operation_ids) > 1:
                msg = "404 for several tasks does not identify the missing one"
                raise answers.Undocumented(msg)
            return {}
        tasks = {answers.identifier(task, "id"): task for task in _tasks(response)}
        return {id_: _update(tasks[id_]) for id_ in operation_ids if id_ in tasks}

    def look_up(self, ask: Ask) -> Flow[Found]:
        """GET /tasks?external_task_ids=…: only an echoed id counts as ours."""
        response = yield _tasks_named(external_task_ids=ask.marker)
        if response.status == NOT_FOUND:
            self.check_absence(response)
            return Found(operation_id=None)
        tasks = _tasks(response)
        ours = [task for task in tasks if answers.optional(task, "external_id") == ask.marker]
        others = [task for task in tasks if task not in ours]
        ids = [answers.identifier(task, "id") for task in (*ours, *others)]
        adopted = ids.pop(0) if ours else None
        return Found(operation_id=adopted, look_alikes=tuple(ids), is_proof=not others)

    def callback_operation(self, body: bytes) -> str | None:
        """A callback is the task itself."""
        return callbacks.identifier(body, "id")


def _body(ask: Ask) -> dict[str, Any]:
    """The body; with an image, `contents` replaces `prompt`."""
    scene = ask.scene
    settings = {
        "resolution": ask.resolution,
        "aspect_ratio": None if scene.image else ask.aspect_ratio,
        "duration": ask.duration_seconds,
        "audio": None if scene.audio is None else ("native" if scene.audio else "off"),
    }
    options = {"external_task_id": ask.marker, "callback_url": ask.callback_url}
    return {
        **({"contents": _contents(ask)} if scene.image else {"prompt": scene.prompt}),
        "settings": without_none(settings),
        "options": without_none(options),
    }


def _contents(ask: Ask) -> list[dict[str, str]]:
    frames = {"first_frame": ask.scene.image, "last_frame": ask.scene.last_image}
    pictures = [{"type": role, "url": picture(uri)} for role, uri in frames.items() if uri]
    return [{"type": "prompt", "text": ask.scene.prompt}, *pictures]


def _tasks_named(**query: str) -> Call:
    return Call(method="GET", path="/tasks", query=query, accept=frozenset({NOT_FOUND}))


def _tasks(response: Response) -> Sequence[object]:
    return answers.items(answer_of(response), "data")


def _update(task: object) -> Update:
    phase = answers.phase(task, "status", among=PHASES)
    words = answers.optional_text(task, "message") if phase is Phase.FAILED else None
    return Update(
        phase=phase,
        videos=_videos(task) if phase is Phase.SUCCEEDED else (),
        failure=task_failure(words) if phase is Phase.FAILED else None,
        cost_micros=_cost(task) if phase.is_final else None,
    )


def _videos(task: object) -> tuple[Video, ...]:
    videos = tuple(
        Video(url=answers.link(answers.text(output, "url")))
        for output in answers.items(task, "outputs")
        if answers.text(output, "type") == "video"
    )
    if not videos:
        msg = "'outputs' has no video although the task succeeded"
        raise answers.Undocumented(msg)
    return videos


def _cost(task: object) -> int | None:
    """The charge to the balance; prepaid package units have no price here."""
    if answers.optional(task, "billing") is None:
        return None
    rows = answers.items(task, "billing")
    if not rows or any(answers.optional(row, "currency") != "USD" for row in rows):
        return None
    return round(sum(_amount(row) for row in rows) * 1_000_000)


def _amount(row: object) -> Decimal:
    amount = Decimal(answers.text(row, "amount"))
    if not amount.is_finite() or amount < 0:
        msg = "'amount' is not a finite number of at least zero"
        raise answers.Undocumented(msg)
    return amount
