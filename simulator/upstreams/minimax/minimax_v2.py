"""MiniMax's H3: tasks from a list of contents; errors have HTTP statuses.

Source: platform.minimax.io/docs/api-reference/video-generation-v2-create and the types and checks
of github.com/MiniMax-AI/cli. Undocumented, and decided here: deleting a running task is 409; a
callback is a poll response, as with the older endpoints.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from aiohttp import web

from simulator.checks import is_flag
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, moderated, origin_of, read_object, reply
from simulator.upstreams.minimax.shared import (
    FPS,
    SENSITIVE_OUTPUT,
    UNKNOWN,
    WRONG,
    MinimaxPlatform,
    MinimaxRefusal,
    field_errors,
    is_image,
    new_task_id,
)
from simulator.video import Clip

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "queued",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "running",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "succeeded",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}
#: Error type by status.
_TYPES: Final[Mapping[int, str]] = {
    400: "bad_request_error",
    401: "authorized_error",
    402: "insufficient_balance_error",
    404: "not_found_error",
    409: "conflict_error",
    422: "unprocessable_entity_error",
    429: "rate_limit_error",
}
_SHORT_SIDES: Final[Mapping[str, int]] = {"480P": 480, "768P": 768, "2K": 1440}
#: Resolutions and durations in seconds by model.
_MODELS: Final[Mapping[str, tuple[tuple[str, ...], range]]] = {
    "MiniMax-H3": (("768P", "2K"), range(4, 16)),
    "MiniMax-H3-Max": (("480P", "768P"), range(5, 16)),
}
_RATIOS: Final = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16")
_FRAMES: Final = ("first_frame", "last_frame")
_REFERENCE: Final = "reference_image"
_MOST_REFERENCES: Final = 9
_LONGEST_PROMPT: Final = 7000


class MinimaxV2(MinimaxPlatform):
    """Everything under /v2."""

    name: ClassVar[str] = "minimax_v2"
    prefix: ClassVar[str] = "/minimax/v2"

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/video_generation", self.submit, Step.SUBMIT),
            Endpoint("GET", "/query/video_generation/{id}", self.poll, Step.POLL),
            Endpoint("DELETE", "/video_generation/{id}", self.delete, Step.CANCEL),
            self.download_endpoint(),
        )

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        code = f" ({refusal.code})" if isinstance(refusal, MinimaxRefusal) else ""
        error = {
            "type": _TYPES.get(refusal.status, "server_error"),
            "message": refusal.message + code,
            "http_code": str(refusal.status),
        }
        shown = {"type": "error", "error": error}
        return reply(shown, status=refusal.status, headers=refusal.headers)

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        if step is not Step.SUBMIT:
            return await super().prompt_of(request, step)
        try:
            return _prompt(await read_object(request))
        except Refusal:
            return ""

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        if complaint := next(_complaints(body), None):
            raise MinimaxRefusal(WRONG, f"invalid params, {complaint}", status=400)
        task = await self.start(request, self._order(body))
        return reply({"task_id": task.id})

    def _order(self, body: dict[str, object]) -> Order:
        model, ratio = str(body["model"]), str(body.get("ratio") or "adaptive")
        clip = Clip.shaped(
            "16:9" if ratio == "adaptive" else ratio,
            short_side=_SHORT_SIDES[str(body["resolution"])],
            seconds=int(str(body["duration"])),
            fps=FPS,
        )
        return Order(
            provider=self.name,
            operation_id=new_task_id(),
            model=model,
            prompt=_prompt(body),
            clip=clip,
            lane=model,
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        task = self.world.operations.poll(self.name, self.operation_id(request))
        if task is None:
            raise Refusal(404, "task not found")
        return reply(self.callback_body(origin_of(request), task))

    def callback_body(self, origin: str, task: Operation) -> object:
        """The task, in poll responses and callbacks."""
        phase, order = self.phase(task), task.order
        shown: dict[str, object] = {
            "id": task.id,
            "model": order.model,
            "status": _WORDS[phase],
            "created_at": int(task.created_at.timestamp()),
            "updated_at": int(task.created_at.timestamp()),
            "resolution": order.body["resolution"],
            "duration": order.clip.seconds,
            "ratio": order.body.get("ratio") or "adaptive",
            "task_type": "generation",
        }
        if phase is Phase.SUCCEEDED:
            usage = {"total_seconds": order.clip.seconds, "output_seconds": order.clip.seconds}
            shown |= {"content": {"url": self.link_from(origin, task)}, "usage": usage}
        if phase is Phase.FAILED:
            shown["error"] = _error(task)
        return {"task": shown}

    async def delete(self, request: web.Request) -> web.Response:
        """Cancel a queued task, refuse a running one, delete a finished one."""
        task = self.world.operations.find(self.name, self.operation_id(request))
        if task is None:
            raise Refusal(404, "task not found")
        phase = self.phase(task)
        if phase in (Phase.RUNNING, Phase.UNDOCUMENTED):
            raise Refusal(409, "a running task can't be cancelled")
        if phase.is_final:
            task.deleted = True
            return reply({"task_id": task.id, "action": "delete", "status": "deleted"})
        self.world.operations.cancel(task)
        return reply({"task_id": task.id, "action": "cancelled", "status": "cancelled"})


def _error(task: Operation) -> dict[str, str]:
    if moderated(task):
        return {"code": str(SENSITIVE_OUTPUT), "message": "output new_sensitive"}
    return {"code": str(UNKNOWN), "message": "unknown error"}


def _contents(body: Mapping[str, object]) -> list[Mapping[str, object]]:
    contents = body.get("content")
    return [one for one in contents if isinstance(one, dict)] if isinstance(contents, list) else []


def _prompt(body: Mapping[str, object]) -> str:
    texts = (one.get("text") for one in _contents(body) if one.get("type") == "text")
    return next((text for text in texts if isinstance(text, str)), "")


def _complaints(body: Mapping[str, object]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    model = body.get("model")
    if not isinstance(model, str) or model not in _MODELS:
        yield "model is not known"
        return
    resolutions, seconds = _MODELS[model]
    for needed in ("content", "resolution", "duration"):
        if body.get(needed) is None:
            yield f"{needed} is required"
    yield from field_errors(
        body,
        {
            "model": lambda value: value == model,
            "content": lambda value: isinstance(value, list),
            "resolution": lambda value: value in resolutions,
            "duration": lambda value: isinstance(value, int) and value in seconds,
            "ratio": lambda value: value in (*_RATIOS, "adaptive"),
            "aigc_watermark": is_flag,
        },
    )
    yield from _content_errors(body)


def _content_errors(body: Mapping[str, object]) -> Iterator[str]:
    prompt, contents = _prompt(body), _contents(body)
    if not prompt.strip() or len(prompt) > _LONGEST_PROMPT:
        yield f"content needs a text of at most {_LONGEST_PROMPT} characters"
    pictures = [one for one in contents if one.get("type") != "text"]
    roles = [str(one.get("role")) for one in pictures]
    for one in pictures:
        image = one.get("image_url")
        if one.get("type") != "image_url" or not isinstance(image, dict):
            yield "content: the simulator takes text and image_url only"
        elif not is_image(image.get("url")):
            yield "content: image_url is invalid"
    if unknown := sorted(set(roles) - {*_FRAMES, _REFERENCE}):
        yield f"content: role {', '.join(unknown)} is not known"
    if any(roles.count(frame) > 1 for frame in _FRAMES) or roles.count(_REFERENCE) > (
        _MOST_REFERENCES
    ):
        yield "content has too many images of one role"
    if _REFERENCE in roles and set(roles) & set(_FRAMES):
        yield "content: frames and references can't be combined"
    if not pictures and body.get("ratio", "adaptive") == "adaptive":
        yield "ratio is required without an image"
