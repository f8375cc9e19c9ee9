"""Kling's first endpoints: tasks with the model in the body, polled by kind.

Source: kling.ai/document-api/apiReference/model (textToVideo, imageToVideo; 2026). Undocumented,
and decided here: a task polled under the other kind is 404 with code 1203.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from aiohttp import web

from simulator.checks import at_most, is_number, is_one_of, is_text
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, origin_of, read_object
from simulator.upstreams.kling.checks import (
    Checks,
    field_errors,
    image_error,
    is_watermark,
)
from simulator.upstreams.kling.shared import (
    ACCESS_KEY,
    SECRET_KEY,
    KlingPlatform,
    KlingRefusal,
    answer,
    clip_of,
    milliseconds,
    new_task_id,
    reason,
)

TEXT, IMAGE = "text2video", "image2video"

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "submitted",
    Phase.QUEUED: "submitted",
    Phase.RUNNING: "processing",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "succeed",
    Phase.FAILED: "failed",
}

_RATIOS: Final = ("16:9", "9:16", "1:1")
_RESOLUTIONS: Final = {"std": "720p", "pro": "1080p"}
_LONGEST_PROMPT: Final = 2500
_SHORT: Final = ("5", "10")
_LONG: Final = tuple(str(seconds) for seconds in range(3, 16))


def _is_fraction(value: object) -> bool:
    return is_number(value) and 0 <= value <= 1


_SOUND: Final[Checks] = {"sound": is_one_of("on", "off")}
_GUIDED: Final[Checks] = {"cfg_scale": _is_fraction}
#: Fields by model besides the shared ones; later models lack `cfg_scale`.
_MODELS: Final[Mapping[str, Checks]] = {
    "kling-v1": {**_GUIDED, "duration": is_one_of(*_SHORT)},
    "kling-v1-5": {**_GUIDED, "duration": is_one_of(*_SHORT)},
    "kling-v1-6": {**_GUIDED, "duration": is_one_of(*_SHORT)},
    "kling-v2-master": {"duration": is_one_of(*_SHORT)},
    "kling-v2-1": {"duration": is_one_of(*_SHORT)},
    "kling-v2-1-master": {"duration": is_one_of(*_SHORT)},
    "kling-v2-5-turbo": {"duration": is_one_of(*_SHORT)},
    "kling-v2-6": {**_SOUND, "duration": is_one_of(*_SHORT)},
    "kling-v3": {**_SOUND, "duration": is_one_of(*_LONG)},
}
#: Models that take a last frame in pro mode only.
_LAST_IN_PRO: Final = frozenset({"kling-v2-1", "kling-v2-5-turbo", "kling-v2-6"})
_DEFAULT_MODEL: Final = "kling-v1"

_SHARED: Final[Checks] = {
    "model_name": is_text,
    "prompt": at_most(_LONGEST_PROMPT),
    "negative_prompt": at_most(_LONGEST_PROMPT),
    "mode": is_one_of(*_RESOLUTIONS),
    "watermark_info": is_watermark,
    "callback_url": is_text,
    "external_task_id": is_text,
}
_OF_KIND: Final[Mapping[str, Checks]] = {
    TEXT: {"aspect_ratio": is_one_of(*_RATIOS)},
    IMAGE: {"image": is_text, "image_tail": is_text},
}

#: Tenths of a unit per second in std and pro; kling.ai/document-api/pricing/base/video.
_TENTHS: Final[Mapping[str, tuple[int, int]]] = {
    "kling-v2-5-turbo": (3, 5),
    "kling-v2-6": (3, 5),
    "kling-v3": (6, 8),
}
_USUAL_TENTHS: Final = (4, 7)

_LARGEST_PAGE: Final = 500
_LAST_PAGE: Final = 1000


class KlingLegacy(KlingPlatform):
    """Everything under /v1."""

    name: ClassVar[str] = "kling_legacy"
    prefix: ClassVar[str] = "/kling/v1"
    takes_tokens: ClassVar[bool] = True

    def environment(self, origin: str) -> dict[str, str]:
        """Both generations share a host, so the base URL is `Kling`'s."""
        base = origin + self.prefix.removesuffix("/v1")
        return {
            "KLING_BASE_URL": base,
            "KLING_ACCESS_KEY": ACCESS_KEY,
            "KLING_SECRET_KEY": SECRET_KEY,
        }

    def endpoints(self) -> Sequence[Endpoint]:
        kind = f"{{kind:{TEXT}|{IMAGE}}}"
        return (
            Endpoint("POST", f"/videos/{kind}", self.submit, Step.SUBMIT),
            Endpoint("GET", f"/videos/{kind}/{{id}}", self.poll, Step.POLL),
            Endpoint("GET", f"/videos/{kind}", self.page, Step.POLL),
            self.download_endpoint(),
        )

    def operation_id(self, request: web.Request) -> str:
        """A task id, also if a poll uses the client's own; downloads carry no credentials."""
        given = super().operation_id(request)
        task = self.named(request, given) if "kind" in request.match_info else None
        return given if task is None else task.id

    async def submit(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        body = await read_object(request)
        if body.get("model_name", _DEFAULT_MODEL) not in _MODELS:
            raise KlingRefusal(1203, "model is not found")
        if complaint := next(_complaints(body, kind), None):
            raise KlingRefusal(1201, complaint)
        task = self.start(
            request,
            self._order(body),
            name=str(body.get("external_task_id") or ""),
            callback=str(body.get("callback_url") or ""),
        )
        return answer(_head(task, "submitted"))

    def _order(self, body: dict[str, object]) -> Order:
        model, mode = str(body.get("model_name") or _DEFAULT_MODEL), str(body.get("mode") or "std")
        ratio = str(body.get("aspect_ratio") or "16:9")
        clip = clip_of(
            _RESOLUTIONS[mode], ratio, seconds=int(str(body.get("duration") or _SHORT[0]))
        )
        tenths = _TENTHS.get(model, _USUAL_TENTHS)[mode == "pro"]
        return Order(
            provider=self.name,
            operation_id=new_task_id(),
            model=model,
            prompt=str(body.get("prompt") or ""),
            clip=clip,
            lane=model,
            price=tenths * clip.seconds,
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        task = self.world.operations.poll(self.name, self.operation_id(request))
        if task is None or _kind(task) != request.match_info["kind"]:
            raise KlingRefusal(1203, "task is not found")
        return answer(self.shown(origin_of(request), task))

    async def page(self, request: web.Request) -> web.Response:
        """The tasks of one kind, newest first."""
        number = _whole(request, "pageNum", default=1, most=_LAST_PAGE)
        size = _whole(request, "pageSize", default=30, most=_LARGEST_PAGE)
        tasks = [
            one
            for one in reversed(list(self.world.operations))
            if one.order.provider == self.name and _kind(one) == request.match_info["kind"]
        ]
        shown = tasks[(number - 1) * size : number * size]
        return answer([self.shown(origin_of(request), task) for task in shown])

    def shown(self, origin: str, task: Operation) -> dict[str, object]:
        phase = self.phase(task)
        shown = _head(task, _WORDS[phase])
        shown["task_status_msg"] = reason(task) if phase is Phase.FAILED else ""
        if phase is Phase.SUCCEEDED:
            seconds = str(task.order.clip.seconds)
            video = {"id": task.id, "url": self.link_from(origin, task), "duration": seconds}
            shown["task_result"] = {"videos": [video]}
            shown["final_unit_deduction"] = f"{task.order.price / 10:g}"
        return shown


def _head(task: Operation, word: str) -> dict[str, object]:
    """A task as in the response to a submission."""
    name = task.order.body.get("external_task_id")
    return {
        "task_id": task.id,
        "task_status": word,
        "task_info": {"external_task_id": name} if name else {},
        "created_at": milliseconds(task),
        "updated_at": milliseconds(task),
    }


def _kind(task: Operation) -> str:
    return IMAGE if task.order.body.get("image") else TEXT


def _complaints(body: Mapping[str, object], kind: str) -> Iterator[str]:
    """Validation errors, in order of checking."""
    model = str(body.get("model_name") or _DEFAULT_MODEL)
    yield from field_errors(body, {**_SHARED, **_OF_KIND[kind], **_MODELS[model]})
    if kind == TEXT and not str(body.get("prompt") or "").strip():
        yield "prompt must not be empty"
    if kind == IMAGE and not body.get("image"):
        yield "image must not be empty"
    if body.get("image_tail") and model in _LAST_IN_PRO and body.get("mode", "std") != "pro":
        yield f"image_tail is supported by {model} in pro mode only"
    for name in ("image", "image_tail"):
        if body.get(name) and (complaint := image_error(body[name], name)):
            yield complaint


def _whole(request: web.Request, name: str, *, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise KlingRefusal(1201, f"{name} must be from 1 to {most}")
    return int(text)
