"""A gateway with the OpenAI Videos API: multipart submits, progress, files behind the key.

Source: the types and behaviour of openai 3.52.0. Undocumented, and decided here: deleting an
unfinished video cancels it; its content before completion is 404.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from email.message import Message
from email.parser import BytesParser
from typing import ClassVar, Final

from aiohttp import web

from simulator import downloads
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase, Script
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, reply
from simulator.video import Clip

#: Frames per second; undocumented.
FPS: Final = 30
#: Seconds between polls, at the vendor's own pace: the guide recommends 10 to 20.
POLL_AFTER: Final = 10.0

_TOKEN = re.compile(r"Bearer \S{8,}")

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "queued",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "in_progress",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
}
_SECONDS: Final = ("4", "8", "12")
_SIZES: Final = ("720x1280", "1280x720")
_LARGE_SIZES: Final = ("1024x1792", "1792x1024")
_MODELS: Final[Mapping[str, tuple[str, ...]]] = {
    "sora-2": _SIZES,
    "sora-2-2025-10-06": _SIZES,
    "sora-2-2025-12-08": _SIZES,
    "sora-2-pro": (*_SIZES, *_LARGE_SIZES),
    "sora-2-pro-2025-10-06": (*_SIZES, *_LARGE_SIZES),
}
_FIELDS: Final = frozenset(("prompt", "model", "seconds", "size", "input_reference"))
_PICTURES: Final = ("image/jpeg", "image/png", "image/webp")
#: Error type and code by status.
_KINDS: Final[Mapping[int, tuple[str, str | None]]] = {
    400: ("invalid_request_error", "invalid_value"),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", None),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
_PAGE: Final = 20
_LARGEST_PAGE: Final = 100


class OpenaiVideos(Upstream):
    """Videos beyond a model's cap are refused with 429."""

    name: ClassVar[str] = "openai_videos"
    prefix: ClassVar[str] = "/openai"
    #: For `expires_at`; undocumented.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=24)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "OPENAI_BASE_URL": f"{origin}{self.prefix}/v1",
            "OPENAI_API_KEY": "sk-openai-simulator-key",
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/videos", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v1/videos/{id}", self.poll, Step.POLL),
            Endpoint("GET", "/v1/videos", self.page, Step.POLL),
            Endpoint("DELETE", "/v1/videos/{id}", self.delete, Step.CANCEL),
            Endpoint("GET", "/v1/videos/{id}/content", self.content, Step.DOWNLOAD),
        )

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Incorrect API key provided.")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        kind, code = _KINDS.get(refusal.status, ("server_error", None))
        error = {"message": refusal.message, "type": kind, "param": None, "code": code}
        return reply({"error": error}, status=refusal.status, headers=refusal.headers)

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        if step is not Step.SUBMIT:
            return await super().prompt_of(request, step)
        try:
            return str((await _read_form(request)).get("prompt") or "")
        except Refusal:
            return ""

    async def submit(self, request: web.Request) -> web.Response:
        form = await _read_form(request)
        if complaint := next(_complaints(form), None):
            raise Refusal(400, complaint)
        order = self._order(form)
        self.check_cap(order.lane, Refusal(429, "Rate limit reached for videos."))
        return self._answer(self.accept(request, order))

    def _order(self, form: dict[str, object]) -> Order:
        model, size = str(form.get("model") or "sora-2"), str(form.get("size") or _SIZES[0])
        seconds = str(form.get("seconds") or _SECONDS[0])
        width, height = (int(side) for side in size.split("x"))
        return Order(
            provider=self.name,
            operation_id=f"video_{secrets.token_hex(24)}",
            model=model,
            prompt=str(form["prompt"]),
            clip=Clip(width=width, height=height, seconds=int(seconds), fps=FPS),
            lane=model,
            body={**form, "model": model, "size": size, "seconds": seconds},
        )

    async def poll(self, request: web.Request) -> web.Response:
        return self._answer(
            self._known(self.world.operations.poll(self.name, self.operation_id(request)))
        )

    async def page(self, request: web.Request) -> web.Response:
        """A page, newest first unless `order` is asc, after the id in `after`."""
        limit = request.query.get("limit", str(_PAGE))
        if not limit.isdecimal() or int(limit) > _LARGEST_PAGE:
            raise Refusal(400, f"limit: must be at most {_LARGEST_PAGE}")
        order = request.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise Refusal(400, "order: must be asc or desc")
        known = [
            one
            for one in self.world.operations
            if one.order.provider == self.name and not one.deleted
        ]
        if order == "desc":
            known.reverse()
        ids = [one.id for one in known]
        start = ids.index(request.query["after"]) + 1 if request.query.get("after") in ids else 0
        shown = known[start : start + int(limit)]
        return reply(
            {
                "object": "list",
                "data": [self._video(one) for one in shown],
                "first_id": shown[0].id if shown else None,
                "last_id": shown[-1].id if shown else None,
                "has_more": start + len(shown) < len(known),
            }
        )

    async def delete(self, request: web.Request) -> web.Response:
        """Cancel if unfinished, and delete."""
        video = self._known(self.world.operations.find(self.name, self.operation_id(request)))
        self.world.operations.cancel(video)
        video.deleted = True
        return reply({"id": video.id, "deleted": True, "object": "video.deleted"})

    async def content(self, request: web.Request) -> web.Response:
        """The file; under `[sim:expired]` the first request returns 404."""
        video = self._known(self.world.operations.find(self.name, self.operation_id(request)))
        if request.query.get("variant", "video") != "video":
            raise Refusal(400, "variant: the simulator makes the video only")
        if self.phase(video) is not Phase.SUCCEEDED:
            raise Refusal(404, "Video is not ready yet.")
        if Script.EXPIRED in video.scripts and video.links_dead_until is None:
            video.links_dead_until = self.world.wall_clock()
            raise Refusal(404, "The video's content has expired.")
        film = await self.world.studio.film(video.order.clip, video.fingerprint, video.order.slate)
        return downloads.video(request, film)

    def _known(self, video: Operation | None) -> Operation:
        if video is None:
            raise Refusal(404, "Video not found.")
        return video

    def _answer(self, video: Operation) -> web.Response:
        """The video, and the poll delay while unfinished."""
        wait = round(POLL_AFTER * 1000 / self.world.options.speed)
        unfinished = not self.phase(video).is_final
        headers = {"openai-poll-after-ms": str(wait)} if unfinished else {}
        return reply(self._video(video), headers=headers)

    def _video(self, video: Operation) -> dict[str, object]:
        phase, body = self.phase(video), video.order.body
        created, now = int(video.created_at.timestamp()), int(self.world.wall_clock())
        is_made = phase is Phase.SUCCEEDED
        return {
            "id": video.id,
            "object": "video",
            "model": video.order.model,
            "status": _WORDS[phase],
            "progress": round(100 * video.progress(self.world.operations.now())),
            "prompt": video.order.prompt,
            "created_at": created,
            "completed_at": now if is_made else None,
            "expires_at": now + int(self.link_lifetime.total_seconds()) if is_made else None,
            "seconds": body["seconds"],
            "size": body["size"],
            "error": _error(video) if phase is Phase.FAILED else None,
            "remixed_from_video_id": None,
        }


def _error(video: Operation) -> dict[str, str]:
    if moderated(video):
        words = "Your request was blocked by our moderation system."
        return {"code": "moderation_blocked", "message": words}
    return {"code": "video_generation_failed", "message": "Video generation failed."}


async def _read_form(request: web.Request) -> dict[str, object]:
    """The form's text fields, and metadata of files; the body may already have been read."""
    head = f"Content-Type: {request.headers.get('Content-Type', '')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + await request.read())
    if message.get_content_type() != "multipart/form-data" or not message.is_multipart():
        raise Refusal(400, "The body must be multipart/form-data.")
    return dict(_field(part) for part in message.walk() if not part.is_multipart())


def _field(part: Message) -> tuple[str, object]:
    name = str(part.get_param("name", header="Content-Disposition"))
    content = part.get_payload(decode=True)
    data = content if isinstance(content, bytes) else b""
    if (filename := part.get_filename()) is None:
        return name, data.decode(errors="replace")
    kind = part.get_content_type()
    return name, {"filename": filename, "content_type": kind, "bytes": len(data)}


def _complaints(form: Mapping[str, object]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    if unknown := sorted(set(form) - _FIELDS):
        yield f"Unknown parameter: {json.dumps(unknown[0])}."
    prompt = form.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        yield "prompt: must not be empty"
    model = form.get("model", "sora-2")
    if model not in _MODELS:
        yield f"model: must be one of {', '.join(_MODELS)}"
        return
    for name, allowed in (("seconds", _SECONDS), ("size", _MODELS[str(model)])):
        if name in form and form[name] not in allowed:
            yield f"{name}: must be one of {', '.join(allowed)}"
    picture = form.get("input_reference")
    if picture is not None and not (
        isinstance(picture, dict) and picture["content_type"] in _PICTURES
    ):
        yield f"input_reference: must be a file of {', '.join(_PICTURES)}"
