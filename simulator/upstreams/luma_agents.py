"""Luma's Agents API, version 2026-04-01: generations without cancel.

Source: the types of luma-agents 0.5.0 and Luma's API pages.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, read_object, reply
from simulator.video import Clip

API_VERSION: Final = "2026-04-01"
MODEL: Final = "ray-3.2"

#: Retry-After of a refusal for too many generations, in seconds.
RETRY_AFTER: Final = 2

#: Frame rate of the grid for keyframe_indexes (from the SDK).
FPS: Final = 24

_TOKEN = re.compile(r"Bearer \S{8,}")

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "queued",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "processing",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
}

_SECONDS: Final = {"5s": 5, "10s": 10}
_SHORT_SIDES: Final = {"360p": 360, "540p": 540, "720p": 720, "1080p": 1080}
_RATIOS: Final = ("9:16", "3:4", "1:1", "4:3", "16:9", "21:9")

#: Allowed number of keyframes.
_KEYFRAMES: Final = range(1, 65)

_MEMBERS: Final = frozenset(("model", "type", "prompt", "aspect_ratio", "user_id", "video"))
_VIDEO_MEMBERS: Final = frozenset(
    (
        *("duration", "resolution", "loop", "hdr", "exr_export"),
        *("start_frame", "end_frame", "keyframes", "keyframe_indexes"),
    )
)


class LumaAgents(Upstream):
    """Generations beyond the account's cap are refused with 429."""

    name: ClassVar[str] = "luma_agents"
    prefix: ClassVar[str] = "/luma-agents"
    #: "Presigned URL (1hr expiry)".
    link_lifetime: ClassVar[timedelta] = timedelta(hours=1)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "LUMA_BASE_URL": f"{origin}{self.prefix}/v1",
            "LUMA_AGENTS_API_KEY": "luma-simulator-key",
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/generations", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v1/generations/{id}", self.poll, Step.POLL),
            self.download_endpoint(),
        )

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Invalid or missing API key")

    def error(self, request: web.Request, refusal: Refusal) -> web.Response:
        headers = {**_identity(request), **refusal.headers}
        return reply({"detail": refusal.message}, status=refusal.status, headers=headers)

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        if complaint := next(_complaints(body), None):
            raise Refusal(422, complaint)
        headers = _identity(request) | self._limits()
        generation = self.accept(request, self._order(body))
        return reply(self._generation(request, generation), status=201, headers=headers)

    def _limits(self) -> dict[str, str]:
        """The rate-limit headers for one more generation; raises Refusal if the cap is reached."""
        refusal = Refusal(429, "Too many concurrent generations", retry_after=RETRY_AFTER)
        left = self.check_cap(MODEL, refusal)
        if left is None:
            return {}
        return {
            "X-RateLimit-Limit": str(self.world.options.cap),
            "X-RateLimit-Remaining": str(left - 1),
        }

    def _order(self, body: dict[str, object]) -> Order:
        video = _video(body)
        return Order(
            provider=self.name,
            operation_id=str(uuid.uuid4()),
            model=MODEL,
            prompt=str(body["prompt"]),
            clip=Clip.shaped(
                str(body.get("aspect_ratio") or "16:9"),
                short_side=_SHORT_SIDES[str(video.get("resolution") or "720p")],
                seconds=_SECONDS[str(video.get("duration") or "5s")],
                fps=FPS,
            ),
            lane=MODEL,
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        generation = self.world.operations.poll(self.name, self.operation_id(request))
        if generation is None:
            raise Refusal(404, "Generation not found")
        return reply(self._generation(request, generation), headers=_identity(request))

    def _generation(self, request: web.Request, generation: Operation) -> dict[str, object]:
        phase = self.phase(generation)
        shown: dict[str, object] = {
            "id": generation.id,
            "created_at": generation.created_at.isoformat(),
            "model": generation.order.model,
            "type": "video",
            "state": _WORDS[phase],
            "failure_code": None,
            "failure_reason": None,
            "output": [],
        }
        if phase is Phase.SUCCEEDED:
            shown["output"] = [{"type": "video", "url": self.link(request, generation)}]
        if phase is Phase.FAILED:
            shown |= _failure(generation)
        return shown


def _identity(request: web.Request) -> dict[str, str]:
    """Headers of every response: the request id and the API version."""
    request_id = request.headers.get("X-Request-Id") or uuid.uuid4().hex
    return {"X-Request-Id": request_id, "X-API-Version": API_VERSION}


def _failure(generation: Operation) -> dict[str, object]:
    if moderated(generation):
        reason = "The prompt did not pass content moderation."
        return {"failure_code": "content_moderated", "failure_reason": reason}
    return {"failure_code": "generation_failed", "failure_reason": "The generation failed."}


def _complaints(body: Mapping[str, object]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        yield "prompt: must be a non-empty string"
    if body.get("model", MODEL) != MODEL:
        yield f"model: must be {MODEL} for type video"
    if body.get("type") != "video":
        yield "type: must be video (the only kind that is simulated)"
    if body.get("aspect_ratio") not in (None, *_RATIOS):
        yield f"aspect_ratio: must be one of {', '.join(_RATIOS)}"
    if unknown := sorted(set(body) - _MEMBERS):
        yield f"{', '.join(unknown)}: not supported for type video"
    if not isinstance(body.get("video") or {}, dict):
        yield "video: must be an object"
    else:
        yield from _video_complaints(_video(body))


def _video_complaints(video: Mapping[str, object]) -> Iterator[str]:
    if unknown := sorted(set(video) - _VIDEO_MEMBERS):
        yield f"video.{', '.join(unknown)}: unknown"
    for name, allowed in (("duration", _SECONDS), ("resolution", _SHORT_SIDES)):
        if video.get(name) is not None and video[name] not in tuple(allowed):
            yield f"video.{name}: must be one of {', '.join(allowed)}"
    for name in ("loop", "hdr", "exr_export"):
        if not isinstance(video.get(name) or False, bool):
            yield f"video.{name}: must be a boolean"
    if video.get("loop") and (video.get("duration") == "10s" or video.get("hdr")):
        yield "video.loop: not supported with duration 10s or hdr"
    if video.get("hdr") and video.get("resolution") == "360p":
        yield "video.resolution: 360p is not valid with hdr"
    if video.get("exr_export") and not video.get("hdr"):
        yield "video.exr_export: requires hdr"
    for name in ("start_frame", "end_frame"):
        yield from _reference(video.get(name), f"video.{name}")
    yield from _keyframes(video)


def _keyframes(video: Mapping[str, object]) -> Iterator[str]:
    keyframes, indexes = video.get("keyframes"), video.get("keyframe_indexes")
    if keyframes is None and indexes is None:
        return
    if not isinstance(keyframes, list) or not isinstance(indexes, list):
        yield "video.keyframes: goes with video.keyframe_indexes, both lists"
        return
    if len(keyframes) not in _KEYFRAMES or len(keyframes) != len(indexes):
        yield "video.keyframes: 1 to 64 frames, as many as keyframe_indexes"
    if any(video.get(name) for name in ("start_frame", "end_frame", "loop")):
        yield "video.keyframes: not together with start_frame, end_frame or loop"
    last = _SECONDS.get(str(video.get("duration") or "5s"), 5) * FPS
    if len(set(map(str, indexes))) != len(indexes) or any(
        i not in range(last + 1) for i in indexes
    ):
        yield f"video.keyframe_indexes: must be unique and from 0 to {last}"
    for index, keyframe in enumerate(keyframes):
        yield from _reference(keyframe, f"video.keyframes.{index}")


def _reference(reference: object, where: str) -> Iterator[str]:
    """An image: exactly one of url, data, generation_id and file_id."""
    if reference is None:
        return
    if not isinstance(reference, dict):
        yield f"{where}: must be an object"
        return
    sources = [n for n in ("url", "data", "generation_id", "file_id") if reference.get(n)]
    if len(sources) != 1:
        yield f"{where}: provide exactly one of url, data, generation_id, file_id"
    if sources == ["data"] and not reference.get("media_type"):
        yield f"{where}.media_type: required with data"


def _video(body: Mapping[str, object]) -> Mapping[str, object]:
    video = body.get("video")
    return video if isinstance(video, dict) else {}
