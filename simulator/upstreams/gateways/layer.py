"""Layer's video API: one POST, answered when the videos are done or have failed.

Source: div-dhingra/layer-ai (the server's /v3/video route) and docs.uselayer.ai. Which gates return
bytes instead of URLs depends on their models; here one of the two does.
"""

import asyncio
import base64
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, read_object, reply
from simulator.video import Clip

#: A gate that returns URLs, and one that returns bytes.
GATE: Final = "00000000-0000-4000-8000-000000000001"
GATE_OF_BYTES: Final = "00000000-0000-4000-8000-000000000002"

#: Maximum sleep between checks of an operation, in seconds: test clocks jump unannounced.
NAP: Final = 0.05
#: "Video generation timed out after 10 minutes", in seconds at a vendor's own pace.
LONGEST: Final = 600.0
USD_PER_SECOND: Final = 0.4
#: Default frames per second.
FPS: Final = 24

_TOKEN = re.compile(r"Bearer \S{8,}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SIZES: Final = ("1280x720", "720x1280", "1792x1024", "1024x1792")
_MOST: Final = 4
_LONGEST_CLIP: Final = 15
_FASTEST: Final = 60
#: ReferenceType in the SDK's types.
_TYPES: Final = ("subject", "style", "asset")
#: What the server's Google adapter sends for more than 6 seconds; for less it sends 5 or 6.
_GOOGLE_SECONDS: Final = 8
_SNAPPED_TO_LESS: Final = 6
_MOST_REFERENCES: Final = 3


class Layer(Upstream):
    """No concurrency limit; results are forgotten after the response."""

    name: ClassVar[str] = "layer"
    prefix: ClassVar[str] = "/layer"
    #: Depends on the model's vendor.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=24)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "LAYER_BASE_URL": origin + self.prefix,
            "LAYER_API_KEY": "layer-simulator-key",
            "LAYER_GATE_ID": GATE,
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v3/video", self.submit, Step.SUBMIT),
            self.download_endpoint(),
        )

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        if step is not Step.SUBMIT:
            return await super().prompt_of(request, step)
        try:
            return str(_data(await read_object(request)).get("prompt") or "")
        except Refusal:
            return ""

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Missing user ID")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        kinds = {401: "unauthorized", 404: "not_found", 429: "rate_limited"}
        kind = kinds.get(refusal.status, "bad_request")
        if refusal.status >= 500:  # noqa: PLR2004 - HTTP server errors
            kind = "internal_error"
        body = {"error": kind, "message": refusal.message}
        return reply(body, status=refusal.status, headers=refusal.headers)

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        _check(body)
        operations = self._accepted(request, body)
        began = self.world.operations.now()
        await asyncio.gather(*(self._ended(operation, began) for operation in operations))
        # All variations share the outcome of the first.
        if self.phase(operations[0]) is not Phase.SUCCEEDED:
            raise Refusal(500, _reason(operations[0], self.phase(operations[0])))
        inline = body["gateId"] == GATE_OF_BYTES
        videos = [await self._video(request, each, inline=inline) for each in operations]
        seconds = operations[0].order.clip.seconds
        took = (self.world.operations.now() - began) * 1000
        return reply(
            {
                "videos": videos,
                "model": operations[0].order.model,
                "cost": round(USD_PER_SECOND * seconds * len(videos), 6),
                "latencyMs": int(took),
                "usedPlatformKey": True,
                "raw": {},
            }
        )

    def _accepted(self, request: web.Request, body: dict[str, object]) -> list[Operation]:
        """One operation per video; the first is billed."""
        data = _data(body)
        order = _order(body, data, name=self.name)
        operations = [self.accept(request, order)]
        for number in range(1, int(str(data.get("numberOfVideos") or 1))):
            other = _order(body, data, name=self.name, variation=number)
            operations.append(self.world.operations.accept(other))
        return operations

    async def _ended(self, operation: Operation, began: float) -> None:
        gives_up_at = began + LONGEST / self.world.options.speed
        while not self.phase(operation).is_final:
            now = self.world.operations.now()
            if now >= gives_up_at:
                return
            await asyncio.sleep(min(max(operation.next_change(now) - now, 0.001), NAP))

    async def _video(
        self, request: web.Request, operation: Operation, *, inline: bool
    ) -> dict[str, object]:
        seconds = operation.order.clip.seconds
        if not inline:
            return {"url": self.link(request, operation), "duration": seconds}
        film = await self.world.studio.film(
            operation.order.clip, operation.fingerprint, operation.order.slate
        )
        return {"base64": base64.b64encode(film).decode(), "duration": seconds}


def _data(body: Mapping[str, object]) -> Mapping[str, object]:
    data = body.get("data")
    return data if isinstance(data, dict) else {}


def _order(
    body: dict[str, object], data: Mapping[str, object], *, name: str, variation: int = 0
) -> Order:
    seed = data.get("seed")
    seed = seed if isinstance(seed, int) else None
    width, height = str(data.get("size") or _SIZES[0]).split("x")
    return Order(
        provider=name,
        operation_id=str(uuid.uuid4()),
        model=str(body.get("model") or "veo-3.1-generate-preview"),
        prompt=str(data["prompt"]),
        seed=(seed or 0) + variation if variation else seed,
        clip=Clip(int(width), int(height), int(str(data.get("duration") or 8)), _fps(data)),
        lane=name,
        body=body,
    )


def _fps(data: Mapping[str, object]) -> int:
    fps = data.get("fps")
    return fps if isinstance(fps, int) else FPS


def _reason(operation: Operation, phase: Phase) -> str:
    if phase is not Phase.FAILED:
        return "Video generation timed out after 10 minutes"
    if moderated(operation):
        return "The prompt violates the usage guidelines."
    return "Video generation failed"


def _check(body: Mapping[str, object]) -> None:
    """The route's own checks, in its order, then the model's."""
    gate = body.get("gateId")
    if not gate:
        raise Refusal(400, "Missing required field: gateId")
    if not isinstance(gate, str) or not _UUID.fullmatch(gate):
        raise Refusal(400, "gateId must be a valid UUID")
    if gate not in (GATE, GATE_OF_BYTES):
        raise Refusal(404, f'Gate with ID "{gate}" not found')
    data = _data(body)
    prompt = data.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise Refusal(400, "Missing required field: data.prompt (must be a non-empty string)")
    complaints = chain(_complaints(data), _google_complaints(str(body.get("model")), data))
    if complaint := next(complaints, None):
        raise Refusal(500, complaint)


def _complaints(data: Mapping[str, object]) -> Iterator[str]:
    if data.get("size") not in (None, *_SIZES):
        yield f"size: must be one of {', '.join(_SIZES)}"
    limits = (("duration", _LONGEST_CLIP), ("numberOfVideos", _MOST), ("fps", _FASTEST))
    for name, most in limits:
        value = data.get(name)
        if value is not None and not (str(value).isdecimal() and 1 <= int(str(value)) <= most):
            yield f"{name}: must be from 1 to {most}"
    pictures = [data.get(name) for name in ("image", "lastFrame") if data.get(name) is not None]
    references = data.get("referenceImages") or []
    pictures += references if isinstance(references, list) else [references]
    given = (isinstance(one, dict) and (one.get("url") or one.get("base64")) for one in pictures)
    if not all(given):
        yield "an image has neither url nor base64"
    for one in _references(data):
        if one.get("referenceType") not in _TYPES:
            yield f"referenceType: must be one of {', '.join(_TYPES)}"


def _references(data: Mapping[str, object]) -> list[Mapping[str, object]]:
    references = data.get("referenceImages")
    given = references if isinstance(references, list) else []
    return [one for one in given if isinstance(one, dict)]


def _google_complaints(model: str, data: Mapping[str, object]) -> Iterator[str]:
    """What Google refuses of what the server passes on to it; a style becomes its STYLE."""
    references = _references(data)
    if not model.startswith("veo-") or not references:
        return
    if len(references) > _MOST_REFERENCES:
        yield f"referenceImages: at most {_MOST_REFERENCES}"
    if data.get("image") or data.get("lastFrame"):
        yield "referenceImages: not together with image or lastFrame"
    if any(one["referenceType"] == "style" for one in references):
        yield "referenceImages[].referenceType: STYLE is not supported by this model"
    if int(str(data.get("duration") or _GOOGLE_SECONDS)) <= _SNAPPED_TO_LESS:
        yield f"durationSeconds: must be {_GOOGLE_SECONDS} with referenceImages"
