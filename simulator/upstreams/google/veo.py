"""Veo on Google Cloud: operations, polled by POST, with inline videos.

Source: google-genai 3.4.0 in its Agent Platform mode, and docs.cloud.google.com.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.operations import Operation, Order, Phase
from simulator.upstream import Endpoint, Refusal, moderated, read_object, reply
from simulator.upstreams.google.shared import GoogleUpstream, new_id, refuse_first
from simulator.upstreams.google.veo_rules import Rules, clip_of, complaints, prompt_in

RULES: Final = Rules(
    models=(
        "veo-3.1-generate-001",
        "veo-3.1-fast-generate-001",
        "veo-3.1-lite-generate-001",
    ),
    most=4,
    parameters=frozenset(
        (
            *("seed", "generateAudio", "fps", "storageUri", "pubsubTopic"),
            *("compressionQuality", "resizeMode"),
        )
    ),
    buckets=True,
)

#: The safety filters' reason for a blocked video.
FILTERED: Final = (
    "Veo could not generate videos because the output violates the usage guidelines. "
    "Support codes: 58061214"
)

_MODELS: Final = (
    "/v1beta1/projects/{project}/locations/{location}/publishers/google/models/{model:[^/:]+}"
)
_TOKEN: Final = re.compile(r"Bearer \S{8,}")


class Veo(GoogleUpstream):
    """No progress, no cancel, no status: only done or not."""

    name: ClassVar[str] = "veo"
    prefix: ClassVar[str] = "/vertex"
    #: Unused: results are inline.
    link_lifetime: ClassVar[timedelta] = timedelta(hours=1)

    def environment(self, origin: str) -> dict[str, str]:
        return {
            "GOOGLE_VERTEX_BASE_URL": origin + self.prefix,
            "GOOGLE_CLOUD_PROJECT": "simulated",
            "GOOGLE_CLOUD_LOCATION": "us-central1",
            "GOOGLE_ACCESS_TOKEN": "ya29.simulator",
        }

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", f"{_MODELS}:predictLongRunning", self.submit, Step.SUBMIT),
            Endpoint("POST", f"{_MODELS}:fetchPredictOperation", self.poll, Step.POLL),
        )

    def authorize(self, request: web.Request) -> None:
        if not _TOKEN.fullmatch(request.headers.get("Authorization", "")):
            raise Refusal(401, "Request had invalid authentication credentials.")

    async def prompt_of(self, request: web.Request, step: Step) -> str:
        try:
            body = await read_object(request)
        except Refusal:
            return ""
        if step is Step.SUBMIT:
            return prompt_in(body)
        operation = self.world.operations.find(self.name, str(body.get("operationName")))
        return "" if operation is None else operation.order.prompt

    async def submit(self, request: web.Request) -> web.Response:
        model = request.match_info["model"]
        if model not in RULES.models:
            raise Refusal(404, f"Publisher Model `{model}` was not found.")
        body = await read_object(request)
        refuse_first(complaints(body, RULES, model))
        self.check_room(model)
        operation = self.accept(request, self._order(request, body))
        return reply({"name": operation.id})

    def _order(self, request: web.Request, body: dict[str, object]) -> Order:
        place = request.match_info
        parameters = body.get("parameters")
        seed = parameters.get("seed") if isinstance(parameters, dict) else None
        return Order(
            provider=self.name,
            operation_id=(
                f"projects/{place['project']}/locations/{place['location']}"
                f"/publishers/google/models/{place['model']}/operations/{new_id()}"
            ),
            model=place["model"],
            prompt=prompt_in(body),
            seed=seed,
            clip=clip_of(body),
            lane=place["model"],
            body=body,
        )

    async def poll(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        operation = self.world.operations.poll(self.name, str(body.get("operationName")))
        if operation is None:
            raise Refusal(404, "Operation was not found.")
        if f"/models/{request.match_info['model']}/" not in operation.id:
            raise Refusal(400, "operationName: is not an operation of this model")
        return reply(await self._shown(operation))

    async def _shown(self, operation: Operation) -> dict[str, object]:
        shown: dict[str, object] = {"name": operation.id}
        phase = self.phase(operation)
        if phase is Phase.SUCCEEDED:
            videos = [await self._video(operation, index) for index in range(samples_of(operation))]
            response = {"@type": f"{_TYPE}.GenerateVideoResponse", "videos": videos}
            return shown | {"done": True, "response": response}
        if phase is Phase.FAILED:
            return shown | {"done": True, **failure_of(operation)}
        return shown

    async def _video(self, operation: Operation, index: int) -> dict[str, str]:
        """One of the videos; each differs, as with another seed."""
        own = hashlib.blake2b(operation.fingerprint + bytes([index]), digest_size=16).digest()
        film = await self.world.studio.film(operation.order.clip, own, operation.order.slate)
        return {"bytesBase64Encoded": b64encode(film).decode(), "mimeType": "video/mp4"}


_TYPE: Final = "type.googleapis.com/cloud.ai.large_models.vision"


def samples_of(operation: Operation) -> int:
    parameters = operation.order.body.get("parameters")
    count = parameters.get("sampleCount", 1) if isinstance(parameters, dict) else 1
    return int(count)


def failure_of(operation: Operation) -> dict[str, object]:
    """`error`, or a `response` without videos because of safety filters."""
    if moderated(operation):
        count = samples_of(operation)
        filtered = {
            "@type": f"{_TYPE}.GenerateVideoResponse",
            "raiMediaFilteredCount": count,
            "raiMediaFilteredReasons": [FILTERED] * count,
        }
        return {"response": filtered}
    return {"error": {"code": 13, "message": "Internal error. Please try again later."}}
