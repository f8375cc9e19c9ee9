"""MiniMax's H3: https://platform.minimax.io/docs/api-reference/video-generation-v2-create."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import (
    NOT_FOUND,
    Accepted,
    Ask,
    Call,
    Capabilities,
    Flow,
    LookUp,
    Phase,
    Update,
    Video,
)
from providers.body import without_none
from providers.vendors.minimax.shared import (
    SOURCES,
    SUBMIT_TIMEOUT,
    MinimaxApi,
    task_failure,
)

#: Every status of VideoV2Task in github.com/MiniMax-AI/cli, src/types/api.ts.
PHASES: Final[Mapping[str, Phase]] = {
    "queued": Phase.QUEUED,
    "running": Phase.RUNNING,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "expired": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}


class MinimaxV2(MinimaxApi):
    """Text, frames and references to video with sound; only queued tasks can be cancelled."""

    name: ClassVar[str] = "minimax_v2"
    capabilities: ClassVar[Capabilities] = Capabilities(
        cancel=True,
        look_up=(LookUp.CALLBACK,),
        callback_challenged=True,
        poll_floor=5.0,
        result_lives=3600.0,
        sources={
            **SOURCES,
            "cancel": "DELETE /v2/video_generation/{id}: queued tasks only; running is an error",
            "cancelled_costs": (
                "unverified; the same verb deletes finished tasks, which stay charged"
            ),
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v2/video_generation."""
        response = yield Call(
            method="POST",
            path="/v2/video_generation",
            json=_body(ask),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        answer = response.json()
        self.check(response)
        return Accepted(operation_id=answers.identifier(answer, "task_id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v2/query/video_generation/{task_id}; 404 is omitted."""
        updates = {}
        for operation_id in operation_ids:
            path = f"/v2/query/video_generation/{answers.segment(operation_id)}"
            response = yield Call(method="GET", path=path, accept=frozenset({NOT_FOUND}))
            if response.status != NOT_FOUND:
                answer = response.json()
                self.check(response)
                updates[operation_id] = _update(answers.record(answer, "task"))
        return updates

    def cancel(self, operation_id: str) -> Flow[None]:
        """DELETE /v2/video_generation/{task_id}; raises ProviderError if already running."""
        path = f"/v2/video_generation/{answers.segment(operation_id)}"
        response = yield Call(method="DELETE", path=path)
        self.check(response)


def _body(ask: Ask) -> dict[str, Any]:
    """The body; with a frame, `ratio` is adaptive: the image decides."""
    has_frame = ask.scene.image is not None or ask.scene.last_image is not None
    return without_none(
        {
            "model": ask.upstream,
            "content": list(_content(ask)),
            "resolution": ask.resolution.upper(),
            "duration": ask.duration_seconds,
            "ratio": "adaptive" if has_frame else ask.aspect_ratio,
            "aigc_watermark": ask.scene.watermark,
            "callback_url": ask.callback_url,
        }
    )


def _content(ask: Ask) -> Iterator[dict[str, Any]]:
    scene = ask.scene
    yield {"type": "text", "text": scene.prompt}
    frames = (("first_frame", scene.image), ("last_frame", scene.last_image))
    references = (("reference_image", each.image) for each in scene.reference_images)
    for role, url in (*frames, *references):
        if url is not None:
            yield {"type": "image_url", "image_url": {"url": url}, "role": role}


def _update(task: object) -> Update:
    phase = answers.phase(task, "status", among=PHASES)
    return Update(
        phase=phase,
        videos=_videos(task) if phase is Phase.SUCCEEDED else (),
        failure=_failure(task, phase),
    )


def _videos(task: object) -> tuple[Video, ...]:
    content = answers.record(task, "content")
    return (Video(url=answers.link(answers.text(content, "url"))),)


def _failure(task: object, phase: Phase) -> Failure | None:
    if phase is Phase.CANCELLED:
        return failures.failure(Fault.GONE, "the task was cancelled at MiniMax")
    if phase is not Phase.FAILED:
        return None
    if (error := answers.optional(task, "error")) is None:
        return task_failure(None, None)
    return task_failure(
        answers.optional_text(error, "code"), answers.optional_text(error, "message")
    )
