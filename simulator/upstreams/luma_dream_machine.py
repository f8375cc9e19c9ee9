"""Luma's Dream Machine API: generations with listing, deletion and callbacks.

Source: the types of lumaai 1.21.0. Undocumented: the effect of deleting a running generation, and
failure messages.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar, Final

from aiohttp import web

from simulator.callbacks import CallbackPolicy
from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, origin_of, read_object, reply
from simulator.video import Clip

#: Frames per second; undocumented.
FPS: Final = 24
#: Default and maximum page size of the listing.
PAGE: Final = 10
LARGEST_PAGE: Final = 100
#: Rows by which a listing shifts between two of its pages.
SHIFT: Final = 3

_TOKEN = re.compile(r"Bearer \S{8,}")

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "queued",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "dreaming",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
}

#: "When the generation is dreaming, completed, or failed", unsigned; any status but 200 is retried
#: three times, 100 ms apart.
CALLBACK_POLICY: Final = CallbackPolicy(
    phases=frozenset((Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED)),
    accepted=range(200, 201),
    retries=3,
)

_MODELS: Final = ("ray-2", "ray-flash-2")
_SECONDS: Final = {"5s": 5, "9s": 9}
_SHORT_SIDES: Final = {"540p": 540, "720p": 720, "1080p": 1080, "4k": 2160}
_RATIOS: Final = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
_MEMBERS: Final = frozenset(
    (
        *("model", "prompt", "aspect_ratio", "duration", "resolution", "loop"),
        *("keyframes", "concepts", "callback_url", "generation_type"),
    )
)


class LumaDreamMachine(Upstream):
    """Generations beyond the account's cap are refused with 429."""

    name: ClassVar[str] = "luma_dream_machine"
    prefix: ClassVar[str] = "/luma-dream-machine"
    #: Undocumented.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=24)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "LUMAAI_BASE_URL": f"{origin}{self.prefix}/v1",
            "LUMAAI_API_KEY": "lumaai-simulator-key",
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/generations/video", self.submit, Step.SUBMIT),
            Endpoint("POST", "/v1/generations", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v1/generations/{id}", self.poll, Step.POLL),
            Endpoint("GET", "/v1/generations", self.page, Step.LIST),
            Endpoint("DELETE", "/v1/generations/{id}", self.delete, Step.CANCEL),
            self.download_endpoint(),
        )

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Invalid API key")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        return reply({"detail": refusal.message}, status=refusal.status, headers=refusal.headers)

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        if complaint := next(_complaints(body), None):
            raise Refusal(400, complaint)
        model = str(body["model"])
        self.check_cap(model, Refusal(429, "Too many concurrent generations"))
        generation = self.accept(request, self._order(body))
        shown = partial(self._generation, origin_of(request), generation)
        if url := body.get("callback_url"):
            self.world.callbacks.follow(
                generation, url=str(url), policy=CALLBACK_POLICY, render=shown
            )
        return reply(shown(), status=201)

    def _order(self, body: dict[str, object]) -> Order:
        model = str(body["model"])
        return Order(
            provider=self.name,
            operation_id=str(uuid.uuid4()),
            model=model,
            prompt=str(body.get("prompt") or ""),
            clip=Clip.shaped(
                str(body.get("aspect_ratio") or "16:9"),
                short_side=_SHORT_SIDES[str(body.get("resolution") or "720p")],
                seconds=_SECONDS[str(body.get("duration") or "5s")],
                fps=FPS,
            ),
            lane=model,
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        generation = self.world.operations.poll(self.name, self.operation_id(request))
        if generation is None:
            raise Refusal(404, "Generation not found")
        return reply(self._generation(origin_of(request), generation))

    async def page(self, request: web.Request) -> web.Response:
        """A page of `limit` generations from `offset`, newest first."""
        limit = min(_whole(request, "limit", default=PAGE, least=1), LARGEST_PAGE)
        offset = _whole(request, "offset", default=0, least=0)
        shows = partial(self._generation, origin_of(request))
        strangers = [partial(_stranger, one) for one in self.world.strangers]
        known = [*strangers, *(partial(shows, one) for one in self._known())]
        shown = known[offset : offset + limit]
        return reply(
            {
                "generations": [show() for show in shown],
                "count": len(shown),
                "has_more": offset + limit < len(known),
                "limit": limit,
                "offset": offset,
            }
        )

    def shift_listing(self, request: web.Request) -> None:
        """Others fill the first page, and delete some of it when a further one is asked for.

        The second page begins with the oldest of our client's that it has not heard of, if any:
        that one is never seen by who takes offsets for places.
        """
        if _whole(request, "offset", default=0, least=0):
            del self.world.strangers[:SHIFT]
            return
        known = self._known()
        unheard = [n for n, one in enumerate(known) if one.is_unheard and not one.polls]
        wanted = max(LARGEST_PAGE - max(unheard, default=0), SHIFT)
        del self.world.strangers[wanted:]
        missing = wanted - len(self.world.strangers)
        self.world.strangers[:0] = [str(uuid.uuid4()) for _ in range(missing)]

    def _known(self) -> list[Operation]:
        """What our client has asked for and not deleted, the newest first."""
        return [
            one
            for one in reversed(list(self.world.operations))
            if one.order.provider == self.name and not one.deleted
        ]

    async def delete(self, request: web.Request) -> web.Response:
        """Cancel if unfinished, and delete."""
        generation = self.world.operations.find(self.name, self.operation_id(request))
        if generation is None:
            raise Refusal(404, "Generation not found")
        self.world.operations.cancel(generation)
        generation.deleted = True
        return web.Response(status=204)

    def _generation(self, origin: str, generation: Operation) -> dict[str, object]:
        phase = self.phase(generation)
        link = self.link_from(origin, generation) if phase is Phase.SUCCEEDED else None
        return {
            "id": generation.id,
            "generation_type": "video",
            "state": _WORDS[phase],
            "failure_reason": _reason(generation) if phase is Phase.FAILED else None,
            "created_at": generation.created_at.isoformat(),
            "assets": {"video": link} if link else None,
            "model": generation.order.model,
            "request": {"generation_type": "video", **generation.order.body},
        }


def _stranger(id_: str) -> dict[str, object]:
    """Something that our client did not ask for."""
    return {
        "id": id_,
        "generation_type": "video",
        "state": "failed",
        "failure_reason": "The generation failed.",
        "created_at": datetime.now(UTC).isoformat(),
        "assets": None,
        "model": _MODELS[0],
        "request": {"generation_type": "video", "model": _MODELS[0], "prompt": "somebody else's"},
    }


def _reason(generation: Operation) -> str:
    if moderated(generation):
        return "The prompt failed content moderation."
    return "The generation failed."


def _whole(request: web.Request, name: str, *, default: int, least: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise Refusal(400, f"{name}: must be a whole number of at least {least}")
    return int(text)


def _complaints(body: Mapping[str, object]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    if body.get("model") not in _MODELS:
        yield f"model: must be one of {', '.join(_MODELS)}"
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        yield "prompt: must be a non-empty string"
    if unknown := sorted(set(body) - _MEMBERS):
        yield f"{', '.join(unknown)}: unknown"
    for name, allowed in (
        ("aspect_ratio", _RATIOS),
        ("duration", tuple(_SECONDS)),
        ("resolution", tuple(_SHORT_SIDES)),
        ("generation_type", ("video",)),
    ):
        if body.get(name) is not None and body[name] not in allowed:
            yield f"{name}: must be one of {', '.join(allowed)}"
    if not isinstance(body.get("loop") or False, bool):
        yield "loop: must be a boolean"
    if not isinstance(body.get("callback_url") or "", str):
        yield "callback_url: must be a string"
    yield from _keyframes(body.get("keyframes"))


def _keyframes(keyframes: object) -> Iterator[str]:
    if keyframes is None:
        return
    if not isinstance(keyframes, dict) or not set(keyframes) <= {"frame0", "frame1"}:
        yield "keyframes: must be an object of frame0 and frame1"
        return
    for name, frame in keyframes.items():
        kind = frame.get("type") if isinstance(frame, dict) else None
        if kind == "image" and _is_url(frame.get("url")):
            continue
        if kind == "generation" and isinstance(frame.get("id"), str):
            continue
        yield f"keyframes.{name}: must be an image with a URL, or a generation with an id"


def _is_url(url: object) -> bool:
    """Images are fetched; data URIs are undocumented."""
    return isinstance(url, str) and url.startswith(("https://", "http://"))
