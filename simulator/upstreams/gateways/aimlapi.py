"""AI/ML API's universal endpoint: one path for all models, polled by `?generation_id=`.

Source: aimlapi/api-docs f14fa72. Undocumented: errors for moderated prompts, and concurrency
limits.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import UNDOCUMENTED_WORD, Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, Upstream, moderated, read_object, reply
from simulator.upstreams.gateways.aimlapi_models import MODELS, clip_of, complaints

_TOKEN = re.compile(r"Bearer \S{8,}")

_WORDS: Final[Mapping[Phase, str]] = {
    Phase.HELD: "queued",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "generating",
    Phase.UNDOCUMENTED: UNDOCUMENTED_WORD.lower(),
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "error",
}

#: Credits per dollar, and the fixed price of a generation here.
CREDITS_PER_DOLLAR: Final = 2_000_000
CREDITS: Final = 525_000


class Aimlapi(Upstream):
    """Generations beyond the account's cap are refused with 429."""

    name: ClassVar[str] = "aimlapi"
    prefix: ClassVar[str] = "/aimlapi"
    #: aimlapi-sdk-python 2.24.0rc1 drops the path of its base address.
    also_below: ClassVar[tuple[str, ...]] = ("",)
    #: "URLs expire within 24-48 hours".
    link_lifetime: ClassVar[timedelta] = timedelta(hours=24)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "AIMLAPI_BASE_URL": f"{origin}/aimlapi/v2",
            "AIMLAPI_API_KEY": "aimlapi-simulator-key",
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/v2/video/generations", self.submit, Step.SUBMIT),
            Endpoint("GET", "/v2/video/generations", self.poll, Step.POLL),
            self.download_endpoint(),
        )

    def operation_id(self, request: web.Request) -> str:
        return request.match_info.get("id") or request.query.get("generation_id", "")

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "This request requires a valid API key.")

    def error(self, request: web.Request, refusal: Refusal) -> web.Response:
        body = {
            "message": refusal.message,
            "path": request.path,
            "requestId": str(uuid.uuid4()),
            "statusCode": refusal.status,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        return reply(body, status=refusal.status, headers=refusal.headers)

    async def submit(self, request: web.Request) -> web.Response:
        return self.started(request, await read_object(request))

    def started(self, request: web.Request, body: dict[str, object]) -> web.Response:
        """Start a generation of a known model."""
        if complaint := next(self.complaints(body), None):
            raise Refusal(400, f"Body validation error! {complaint}")
        model = str(body["model"])
        self.check_cap(model, Refusal(429, "Too Many Requests"))
        seed = body.get("seed")
        order = Order(
            provider=self.name,
            operation_id=str(uuid.uuid4()),
            model=model,
            prompt=str(body.get("prompt") or ""),
            seed=seed if isinstance(seed, int) else None,
            clip=clip_of(body, MODELS[model]),
            lane=model,
            body=body,
        )
        return reply(self._generation(request, self.accept(request, order)))

    def complaints(self, body: Mapping[str, object]) -> Iterator[str]:
        return complaints(body)

    async def poll(self, request: web.Request) -> web.Response:
        generation = self.world.operations.poll(self.name, self.operation_id(request))
        if generation is None:
            raise Refusal(404, "Generation not found")
        return reply(self._generation(request, generation))

    def _generation(self, request: web.Request, generation: Operation) -> dict[str, object]:
        phase = self.phase(generation)
        shown: dict[str, object] = {"id": generation.id, "status": _WORDS[phase]}
        if phase is Phase.SUCCEEDED:
            usage = {"credits_used": CREDITS, "usd_spent": CREDITS / CREDITS_PER_DOLLAR}
            shown |= {
                "video": {"url": self.link(request, generation)},
                "error": None,
                "meta": {"usage": usage},
            }
        if phase is Phase.FAILED:
            shown |= {"video": None, "error": _failure(generation)}
        return shown


def _failure(generation: Operation) -> dict[str, object]:
    if moderated(generation):
        return {"name": "BadRequest", "message": "The prompt was rejected by content moderation."}
    return {"name": "InternalServerError", "message": "The generation failed."}
