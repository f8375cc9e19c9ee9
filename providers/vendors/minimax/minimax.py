"""MiniMax's Hailuo 2: https://platform.minimax.io/docs/api-reference; errors are HTTP 200."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from models.failure import Fault
from providers import answers
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
    ERROR_CODES,
    SOURCES,
    SUBMIT_TIMEOUT,
    SUCCESS,
    MinimaxApi,
    task_failure,
)
from transport.base import Response

#: Every status in platform.minimax.io/docs/api-reference/video-generation-query; the vendor's CLI
#: (mmx 1.0.12, src/types/api.ts) uses Failed for the documented Fail.
PHASES: Final[Mapping[str, Phase]] = {
    "Preparing": Phase.QUEUED,
    "Queueing": Phase.QUEUED,
    "Processing": Phase.RUNNING,
    "Success": Phase.SUCCEEDED,
    "Fail": Phase.FAILED,
    "Failed": Phase.FAILED,
}


class Minimax(MinimaxApi):
    """Text and image to video, landscape or in the image's shape; no seed, progress or cancel."""

    name: ClassVar[str] = "minimax"
    capabilities: ClassVar[Capabilities] = Capabilities(
        look_up=(LookUp.CALLBACK,),
        callback_challenged=True,
        poll_floor=5.0,
        result_lives=3600.0,
        sources={**SOURCES, "cancel": "platform.minimax.io/docs/api-reference: not in /v1"},
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1/video_generation."""
        response = yield Call(
            method="POST",
            path="/v1/video_generation",
            json=_body(ask),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=answers.identifier(self._checked(response), "task_id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1/query/video_generation and, once there is a file, GET /v1/files/retrieve."""
        updates = {}
        for operation_id in operation_ids:
            response = yield Call(
                method="GET",
                path="/v1/query/video_generation",
                query={"task_id": operation_id},
                accept=frozenset({NOT_FOUND}),
            )
            if response.status != NOT_FOUND:
                updates[operation_id] = yield from self._update(response)
        return updates

    def _update(self, response: Response) -> Flow[Update]:
        """One task; a safety filter's code is final, whatever the status."""
        task = response.json()
        code = _code(task)
        word = answers.optional_text(task, "status")
        ended = word is not None and PHASES.get(word) is Phase.FAILED
        if ended or (code in ERROR_CODES and ERROR_CODES[code].fault is Fault.MODERATED):
            said = answers.optional_text(answers.record(task, "base_resp"), "status_msg")
            words = None if code == SUCCESS else said
            return Update(phase=Phase.FAILED, failure=task_failure(code or None, words))
        phase = answers.phase(self._checked(response), "status", among=PHASES)
        if phase is not Phase.SUCCEEDED:
            return Update(phase=phase)
        return Update(phase=phase, videos=(yield from self._videos(task)))

    def _videos(self, task: object) -> Flow[tuple[Video, ...]]:
        """The file's URL: the task has only the file id, a string or in places a number."""
        number = answers.optional(task, "file_id")
        is_number = isinstance(number, int) and not isinstance(number, bool)
        file_id = str(number) if is_number else answers.identifier(task, "file_id")
        response = yield Call(method="GET", path="/v1/files/retrieve", query={"file_id": file_id})
        file = answers.record(self._checked(response), "file")
        return (Video(url=answers.link(answers.text(file, "download_url"))),)

    def _checked(self, response: Response) -> object:
        """The JSON body; raises ProviderError if it is an error."""
        answer: object = response.json()
        _code(answer)
        self.check(response)
        return answer


def _code(answer: object) -> int:
    """The code of every response, 0 for success."""
    code = answers.optional(answers.record(answer, "base_resp"), "status_code")
    if not isinstance(code, int) or isinstance(code, bool):
        msg = "'base_resp' has no 'status_code'"
        raise answers.Undocumented(msg)
    return code


def _body(ask: Ask) -> dict[str, Any]:
    scene = ask.scene
    return without_none(
        {
            "model": ask.upstream,
            "prompt": scene.prompt,
            "duration": ask.duration_seconds,
            "resolution": ask.resolution.upper(),
            "first_frame_image": scene.image,
            "last_frame_image": scene.last_image,
            "aigc_watermark": scene.watermark,
            "callback_url": ask.callback_url,
        }
    )
