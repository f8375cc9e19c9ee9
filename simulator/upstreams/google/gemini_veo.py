"""Veo's retired Gemini API, as gateways still serve it.

Source: google-genai 2.34.0 in its Gemini mode, and ai.google.dev/gemini-api/docs/video.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, moderated, origin_of, read_object, reply
from simulator.upstreams.google.shared import GeminiUpstream, new_id, refuse_first
from simulator.upstreams.google.veo import FILTERED
from simulator.upstreams.google.veo_rules import Rules, clip_of, complaints, prompt_in

RULES: Final = Rules(
    models=(
        "veo-3.1-generate-preview",
        "veo-3.1-fast-generate-preview",
        "veo-3.1-lite-generate-preview",
    ),
    most=1,
    large_is_long=True,
)

_TYPE: Final = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"


class GeminiVeo(GeminiUpstream):
    """One video each, always with sound; mounted under Gemini's prefix."""

    name: ClassVar[str] = "gemini_veo"
    prefix: ClassVar[str] = "/gemini/v1beta"

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/models/{model:[^/:]+}:predictLongRunning", self.submit, Step.SUBMIT),
            Endpoint("GET", "/models/{model}/operations/{operation}", self.poll, Step.POLL),
            *self.file_endpoints(),
        )

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        if step is not Step.SUBMIT:
            return await super().prompt_of(request, step)
        try:
            return prompt_in(await read_object(request))
        except Refusal:
            return ""

    def operation_id(self, request: web.Request) -> str:
        """The operation's name, from its own path or a file's."""
        place = request.match_info
        if "operation" in place:
            return f"models/{place['model']}/operations/{place['operation']}"
        names = (f"models/{model}/operations/{place['file']}" for model in RULES.models)
        return next((name for name in names if self.world.operations.find(self.name, name)), "")

    async def submit(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if model not in RULES.models:
            raise Refusal(404, f"models/{model} is not found for API version v1beta.")
        body = await read_object(request)
        refuse_first(complaints(body, RULES, model))
        self.check_room(model)
        order = Order(
            provider=self.name,
            operation_id=f"models/{model}/operations/{new_id()}",
            model=model,
            prompt=prompt_in(body),
            clip=clip_of(body),
            lane=model,
            body=body,
        )
        return reply({"name": self.accept(request, order).id})

    async def poll(self, request: web.Request) -> web.Response:
        operation = self.world.operations.poll(self.name, self.operation_id(request))
        if operation is None:
            raise Refusal(404, "Operation not found.")
        return reply({"name": operation.id, **self._end(request, operation)})

    def _end(self, request: web.Request, operation: Operation) -> dict[str, object]:
        """The fields of a finished operation besides its name."""
        phase = self.phase(operation)
        if phase is Phase.FAILED and not moderated(operation):
            return {"done": True, "error": {"code": 13, "message": "Internal error encountered."}}
        if not phase.is_final:
            return {}
        videos: dict[str, object] = {
            "raiMediaFilteredCount": 1,
            "raiMediaFilteredReasons": [FILTERED],
        }
        if phase is Phase.SUCCEEDED:
            uri = self.file_uri(origin_of(request), operation)
            videos = {"generatedSamples": [{"video": {"uri": uri}}]}
        return {"done": True, "response": {"@type": _TYPE, "generateVideoResponse": videos}}
