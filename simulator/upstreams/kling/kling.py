"""Kling's current endpoints: tasks with the model in the path, polled in batches.

Source: kling.ai/document-api/api/video/3-0-omni and 3-0-turbo (2026). Undocumented, and decided
here: unknown tasks are omitted from the list.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from aiohttp import web

from simulator.checks import at_most, is_flag, is_one_of, is_text
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Handler, origin_of, read_object
from simulator.upstreams.kling.checks import (
    Checks,
    field_errors,
    image_error,
    is_watermark,
)
from simulator.upstreams.kling.shared import (
    API_KEY,
    SIZES,
    UNIT_PRICE,
    WEBHOOK_SECRET,
    KlingPlatform,
    KlingRefusal,
    answer,
    clip_of,
    milliseconds,
    new_task_id,
    prompt_in,
    reason,
)

TEXT, IMAGE = "text-to-video", "image-to-video"

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "submitted",
    Phase.QUEUED: "submitted",
    Phase.RUNNING: "processing",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "succeeded",
    Phase.FAILED: "failed",
}

_RATIOS: Final = ("16:9", "9:16", "1:1")
_SECONDS: Final = range(3, 16)
_LONGEST_PROMPT: Final = 3072

#: `settings` fields by model; `aspect_ratio` only with text.
_SETTINGS: Final[Mapping[str, Checks]] = {
    "kling-3.0": {
        "resolution": is_one_of(*SIZES),
        "duration": is_one_of(*_SECONDS),
        "audio": is_one_of("native", "off"),
        "multi_shot": is_flag,
    },
    "kling-3.0-turbo": {
        "resolution": is_one_of("720p", "1080p"),
        "duration": is_one_of(*_SECONDS),
    },
}
_OPTIONS: Final[Checks] = {
    "callback_url": is_text,
    "external_task_id": is_text,
    "watermark_info": is_watermark,
}
_BODIES: Final[Mapping[str, Checks]] = {
    TEXT: {"prompt": at_most(_LONGEST_PROMPT)},
    IMAGE: {"contents": lambda value: isinstance(value, list)},
}
_FRAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "kling-3.0": ("first_frame", "last_frame"),
    "kling-3.0-turbo": ("first_frame",),
}

#: Tenths of a unit per second, silent and with sound; kling.ai/document-api/pricing/base/video.
_TENTHS: Final[Mapping[str, Mapping[str, tuple[int, int]]]] = {
    "kling-3.0": {"720p": (6, 9), "1080p": (8, 12), "4k": (30, 30)},
    "kling-3.0-turbo": {"720p": (8, 8), "1080p": (10, 10)},
}

#: Default and maximum page size of the listing.
_PAGE: Final = 100
_LARGEST_PAGE: Final = 500


class Kling(KlingPlatform):
    """Everything under the host except the first generation."""

    name: ClassVar[str] = "kling"
    prefix: ClassVar[str] = "/kling"
    takes_tokens: ClassVar[bool] = False

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "KLING_BASE_URL": f"{origin}{self.prefix}",
            "KLING_API_KEY": API_KEY,
            "KLING_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", f"/{TEXT}/{{model}}", self._submit(TEXT), Step.SUBMIT),
            Endpoint("POST", f"/{IMAGE}/{{model}}", self._submit(IMAGE), Step.SUBMIT),
            Endpoint("GET", "/tasks", self.poll, Step.POLL),
            Endpoint("POST", "/tasks", self.page, Step.POLL),
            self.download_endpoint(),
        )

    def operation_id(self, request: web.Request) -> str:
        """The first of several ids, which is enough for `match_prompt`."""
        if name := request.query.get("external_task_ids", "").partition(",")[0]:
            task = self.named(request, name)
            return "" if task is None else task.id
        return request.query.get("task_ids", super().operation_id(request)).partition(",")[0]

    def _submit(self, kind: str) -> Handler:
        async def submit(request: web.Request) -> web.Response:
            model = request.match_info["model"]
            if model not in _SETTINGS:
                raise KlingRefusal(1203, f"model {model[:64]} is not found")
            body = await read_object(request)
            if complaint := next(_complaints(body, kind, model), None):
                raise KlingRefusal(1201, complaint)
            options = _object(body, "options")
            task = self.start(
                request,
                self._order(body, kind, model),
                name=str(options.get("external_task_id") or ""),
                callback=str(options.get("callback_url") or ""),
            )
            return answer(_head(task))

        return submit

    def _order(self, body: dict[str, object], kind: str, model: str) -> Order:
        settings = _object(body, "settings")
        resolution = str(settings.get("resolution") or "720p")
        ratio = str(settings.get("aspect_ratio") or "16:9") if kind == TEXT else "16:9"
        clip = clip_of(resolution, ratio, seconds=int(str(settings.get("duration") or 5)))
        silent, with_sound = _TENTHS[model][resolution]
        return Order(
            provider=self.name,
            operation_id=new_task_id(),
            model=model,
            prompt=prompt_in(body),
            clip=clip,
            lane=model,
            price=(with_sound if settings.get("audio") == "native" else silent) * clip.seconds,
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        """By ids of one kind only."""
        ids, names = (request.query.get(key, "") for key in ("task_ids", "external_task_ids"))
        if bool(ids) == bool(names):
            raise KlingRefusal(1200, "give task_ids or external_task_ids, not both")
        if names:
            named = (self.named(request, name) for name in names.split(","))
            ids = ",".join(task.id for task in named if task is not None)
        found = (self.world.operations.poll(self.name, id_) for id_ in ids.split(","))
        return answer([self.shown(origin_of(request), task) for task in found if task])

    async def page(self, request: web.Request) -> web.Response:
        """POST /tasks: a page of the account's tasks, newest first."""
        body = await read_object(request)
        limit, cursor = body.get("limit", _PAGE), str(body.get("cursor") or 0)
        if not is_one_of(*range(1, _LARGEST_PAGE + 1))(limit) or not cursor.isdecimal():
            raise KlingRefusal(1201, f"limit must be from 1 to {_LARGEST_PAGE}")
        start, count = int(cursor), int(str(limit))
        tasks = [one for one in self.world.operations if one.order.provider == self.name][::-1]
        page = tasks[start : start + count]
        has_more = start + count < len(tasks)
        return answer(
            {
                "result": [self.shown(origin_of(request), task) for task in page],
                "count": len(page),
                "next_cursor": str(start + count) if has_more else "",
                "has_more": has_more,
            }
        )

    def shown(self, origin: str, task: Operation) -> dict[str, object]:
        phase = self.phase(task)
        shown: dict[str, object] = {
            "id": task.id,
            "status": _WORDS[phase],
            "message": reason(task) if phase is Phase.FAILED else "",
            "create_time": milliseconds(task),
            "update_time": milliseconds(task),
            "external_id": _object(task.order.body, "options").get("external_task_id") or "",
            "outputs": [],
            "billing": [],
        }
        if phase is Phase.SUCCEEDED:
            link, seconds = self.link_from(origin, task), str(task.order.clip.seconds)
            shown["outputs"] = [{"type": "video", "id": "1", "url": link, "duration": seconds}]
            shown["billing"] = [_billing(task)]
        return shown


def _head(task: Operation) -> dict[str, object]:
    """A task as in the response to a submission."""
    return {
        "id": task.id,
        "status": "submitted",
        "create_time": milliseconds(task),
        "update_time": milliseconds(task),
        "external_id": _object(task.order.body, "options").get("external_task_id") or "",
    }


def _billing(task: Operation) -> dict[str, object]:
    amount = f"{task.order.price / 10 * UNIT_PRICE:.4f}"
    return {
        "charge_type": "cash",
        "cash_type": "balance",
        "amount": amount,
        "currency": "USD",
        "list_price": amount,
    }


def _object(body: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _complaints(body: Mapping[str, object], kind: str, model: str) -> Iterator[str]:
    """Validation errors, in order of checking."""
    groups: Checks = {
        name: lambda value: isinstance(value, dict) for name in ("settings", "options")
    }
    yield from field_errors(body, {**_BODIES[kind], **groups})
    if not prompt_in(body).strip():
        yield "prompt must not be empty"
    ratio: Checks = {"aspect_ratio": is_one_of(*_RATIOS)} if kind == TEXT else {}
    settings = _object(body, "settings")
    yield from field_errors(settings, {**_SETTINGS[model], **ratio}, where="settings.")
    yield from field_errors(_object(body, "options"), _OPTIONS, where="options.")
    if kind == IMAGE:
        yield from _content_complaints(body.get("contents"), _FRAMES[model])


def _content_complaints(contents: object, frames: Sequence[str]) -> Iterator[str]:
    items = contents if isinstance(contents, list) else []
    kinds = [one.get("type") if isinstance(one, dict) else None for one in items]
    if "first_frame" not in kinds:
        yield "contents: first_frame is required"
    for at, (kind, item) in enumerate(zip(kinds, items, strict=True)):
        if kind == "prompt":
            if not at_most(_LONGEST_PROMPT)(item.get("text")):
                yield f"contents[{at}].text is invalid"
        elif kind not in frames or kinds.count(kind) > 1:
            yield f"contents[{at}].type is invalid"
        elif complaint := image_error(item.get("url"), f"contents[{at}].url"):
            yield complaint
