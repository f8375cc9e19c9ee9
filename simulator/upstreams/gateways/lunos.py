"""Lunos' video API: Google's Veo as an operation that is pending until done.

Source: lunos.tech/docs/generative/video and @lunos/client 1.5.0.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, read_object, reply
from simulator.video import Clip
from simulator.world import World

MODEL: Final = "google/veo-3.0-generate-preview"
#: Veo 3's only format.
CLIP: Final = Clip(width=1280, height=720, seconds=8)
USER: Final = "user123"

_TOKEN = re.compile(r"Bearer \S{10,}")

#: "processing" is undocumented; the client accepts it, the server never sends it.
_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "pending",
    Phase.QUEUED: "pending",
    Phase.RUNNING: "pending",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
}


class Lunos(Upstream):
    """Operations beyond the account's cap are refused with 429."""

    name: ClassVar[str] = "lunos"
    prefix: ClassVar[str] = "/lunos"
    #: Undocumented.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=24)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._serial = itertools.count(int(world.wall_clock() * 1000))

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "LUNOS_BASE_URL": origin + self.prefix,
            "LUNOS_API_KEY": "lunos-simulator-key",
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v1/video/generations", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v1/video/generations/{id}", self.poll, Step.POLL),
            self.download_endpoint(),
        )

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Invalid API key")

    def error(self, _request: web.Request, refusal: Refusal) -> web.Response:
        return reply({"error": refusal.message}, status=refusal.status, headers=refusal.headers)

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        _check(body)
        self.check_cap(MODEL, Refusal(429, "Rate limit exceeded"))
        number = next(self._serial)
        order = Order(
            provider=self.name,
            operation_id=f"video-op:{USER}:{number}",
            model=MODEL,
            prompt=str(body["prompt"]),
            clip=CLIP,
            lane=MODEL,
            body=body,
        )
        operation = self.accept(request, order)
        name = f"operations/veo-3.0-generate-preview/{number}"
        return reply({"id": operation.id, "operation_name": name, "status": "pending"})

    async def poll(self, request: web.Request) -> web.Response:
        operation = self.world.operations.poll(self.name, self.operation_id(request))
        if operation is None:
            raise Refusal(404, "Operation not found")
        phase = self.phase(operation)
        shown: dict[str, object] = {"id": operation.id, "status": _WORDS[phase]}
        if phase is Phase.SUCCEEDED:
            shown["video_url"] = self.link(request, operation)
        if phase is Phase.FAILED:
            shown["error"] = _reason(operation)
        return reply(shown)


def _reason(operation: Operation) -> str:
    if moderated(operation):
        return "The prompt violates the usage guidelines."
    return "Video generation failed."


def _check(body: Mapping[str, object]) -> None:
    if not all(isinstance(body.get(name), str) and body[name] for name in ("model", "prompt")):
        raise Refusal(400, "Missing required fields: model and prompt")
    if body["model"] != MODEL:
        raise Refusal(404, "Model not found")
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict) or parameters.get("aspectRatio", "16:9") != "16:9":
        raise Refusal(400, "Only 16:9 aspect ratio is supported")
    if body.get("response_format", "mp4") != "mp4":
        raise Refusal(400, "Only mp4 response format is supported")
