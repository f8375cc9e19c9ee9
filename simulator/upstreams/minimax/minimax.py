"""MiniMax's Hailuo 2: tasks with file ids; every error is HTTP 200.

Source: platform.minimax.io/docs/api-reference (video-generation-t2v, -i2v, -fl2v, -query,
-download) and the fixtures of github.com/MiniMax-AI/cli. Undocumented, and decided here: an unknown
task or file is code 2013; a moderated task fails with code 1027.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from aiohttp import web

from simulator.checks import at_most, is_flag
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, moderated, read_object, reply
from simulator.upstreams.minimax.shared import (
    FPS,
    RATE,
    SENSITIVE_OUTPUT,
    UNKNOWN,
    WRONG,
    WRONG_KEY,
    MinimaxPlatform,
    MinimaxRefusal,
    field_errors,
    is_image,
    new_task_id,
)
from simulator.video import Clip

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "Preparing",
    Phase.QUEUED: "Queueing",
    Phase.RUNNING: "Processing",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.title(),
    Phase.SUCCEEDED: "Success",
    Phase.FAILED: "Fail",
}
#: Status words in callbacks.
_CALLBACK_WORDS: Final[Mapping[Phase, str]] = {
    **_WORDS,
    Phase.RUNNING: "processing",
    Phase.SUCCEEDED: "success",
    Phase.FAILED: "failed",
}
_SIZES: Final[Mapping[str, tuple[int, int]]] = {
    "512P": (910, 512),
    "768P": (1366, 768),
    "1080P": (1920, 1080),
}
#: Durations in seconds by model and resolution, default first.
_LENGTHS: Final[Mapping[str, Mapping[str, tuple[int, ...]]]] = {
    "MiniMax-Hailuo-2.3": {"768P": (6, 10), "1080P": (6,)},
    "MiniMax-Hailuo-2.3-Fast": {"768P": (6, 10), "1080P": (6,)},
    "MiniMax-Hailuo-02": {"768P": (6, 10), "1080P": (6,), "512P": (6, 10)},
}
_NEED_IMAGE: Final = frozenset({"MiniMax-Hailuo-2.3-Fast"})
_TAKE_LAST: Final = frozenset({"MiniMax-Hailuo-02"})
_LONGEST_PROMPT: Final = 2000
#: Error code by status, for errors such as scripted faults.
_CODES: Final[Mapping[int, int]] = {400: WRONG, 401: WRONG_KEY, 404: WRONG, 429: RATE}

#: Prefix that turns a task id into a file id.
_FILE: Final = "2"


class Minimax(MinimaxPlatform):
    """Everything under /v1."""

    name: ClassVar[str] = "minimax"
    prefix: ClassVar[str] = "/minimax/v1"

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/video_generation", self.submit, Step.SUBMIT),
            Endpoint("GET", "/query/video_generation", self.poll, Step.POLL),
            Endpoint("GET", "/files/retrieve", self.retrieve, Step.POLL),
            self.download_endpoint(),
        )

    def operation_id(self, request: web.Request) -> str:
        """A task id, from a download's path, a poll's query or a file id."""
        file_id = request.query.get("file_id", "").removeprefix(_FILE)
        return super().operation_id(request) or request.query.get("task_id") or file_id

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        """Refusals are HTTP 200; scripted faults keep their status."""
        code = refusal.code if isinstance(refusal, MinimaxRefusal) else None
        status = 200 if code else refusal.status
        shown = _base(code or _CODES.get(refusal.status, UNKNOWN), refusal.message)
        return reply({"task_id": "", **shown}, status=status, headers=refusal.headers)

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        if complaint := next(_complaints(body), None):
            raise MinimaxRefusal(WRONG, f"invalid params, {complaint}", status=400)
        task = await self.start(request, self._order(body))
        return reply({"task_id": task.id, **_base(0, "success")})

    def _order(self, body: dict[str, object]) -> Order:
        model, resolution = str(body["model"]), str(body.get("resolution") or "768P")
        width, height = _SIZES[resolution]
        seconds = int(str(body.get("duration") or 6))
        return Order(
            provider=self.name,
            operation_id=new_task_id(),
            model=model,
            prompt=str(body.get("prompt") or ""),
            clip=Clip(width=width, height=height, seconds=seconds, fps=FPS),
            lane=model,
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        task = self.world.operations.poll(self.name, self.operation_id(request))
        if task is None:
            raise MinimaxRefusal(WRONG, "invalid params, task_id", status=404)
        return reply(self._shown(task, _WORDS))

    def callback_body(self, origin: str, task: Operation) -> object:  # noqa: ARG002 - the URL is fetched separately
        """The task as in a poll, with the callbacks' status words."""
        return self._shown(task, _CALLBACK_WORDS)

    def _shown(self, task: Operation, words: Mapping[Phase, str]) -> dict[str, object]:
        phase = self.phase(task)
        shown: dict[str, object] = {"task_id": task.id, "status": words[phase], "file_id": ""}
        if phase is Phase.SUCCEEDED:
            clip = task.order.clip
            shown |= {
                "file_id": _FILE + task.id,
                "video_width": clip.width,
                "video_height": clip.height,
            }
        return {**shown, **_outcome(task, phase)}

    async def retrieve(self, request: web.Request) -> web.Response:
        """A file with a new URL, once its task has succeeded."""
        task = self.world.operations.find(self.name, self.operation_id(request))
        if task is None or self.phase(task) is not Phase.SUCCEEDED:
            raise MinimaxRefusal(WRONG, "invalid params, file_id", status=404)
        film = await self.world.studio.film(task.order.clip, task.fingerprint, task.order.slate)
        file = {
            "file_id": _FILE + task.id,
            "bytes": len(film),
            "created_at": int(task.created_at.timestamp()),
            "filename": "output.mp4",
            "purpose": "video_generation",
            "download_url": self.link(request, task),
        }
        return reply({"file": file, **_base(0, "success")})


def _base(code: int, words: str) -> dict[str, object]:
    return {"base_resp": {"status_code": code, "status_msg": words}}


def _outcome(task: Operation, phase: Phase) -> dict[str, object]:
    if phase is not Phase.FAILED:
        return _base(0, "success")
    if moderated(task):
        return _base(SENSITIVE_OUTPUT, "output new_sensitive")
    return _base(UNKNOWN, "unknown error")


def _complaints(body: Mapping[str, object]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    model = body.get("model")
    if not isinstance(model, str) or model not in _LENGTHS:
        yield "model is not known"
        return
    yield from field_errors(
        body,
        {
            "model": lambda value: value == model,
            "prompt": at_most(_LONGEST_PROMPT),
            "duration": lambda value: isinstance(value, int),
            "resolution": lambda value: value in tuple(_LENGTHS[model]),
            "first_frame_image": is_image,
            "last_frame_image": is_image,
            "prompt_optimizer": is_flag,
            "fast_pretreatment": is_flag,
            "aigc_watermark": is_flag,
        },
    )
    resolution = str(body.get("resolution") or "768P")
    if (body.get("duration") or 6) not in _LENGTHS[model][resolution]:
        yield f"duration is invalid at {resolution}"
    yield from _frame_errors(body, model, resolution)


def _frame_errors(body: Mapping[str, object], model: str, resolution: str) -> Iterator[str]:
    first, last = body.get("first_frame_image"), body.get("last_frame_image")
    if not first and (model in _NEED_IMAGE or resolution == "512P"):
        yield "first_frame_image must not be empty"
    if not first and not str(body.get("prompt") or "").strip():
        yield "prompt must not be empty"
    if last and model not in _TAKE_LAST:
        yield f"last_frame_image is not supported by {model}"
