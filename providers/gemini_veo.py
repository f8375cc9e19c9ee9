"""Veo's contract on the Gemini API, for gateways that still speak it, as google-genai 2.34.0 did.

Google itself retired it on 2026-10-22 and answers 404: `GOOGLE_GEMINI_BASE_URL` must name another.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from providers import answers, google, predictions
from providers.base import NOT_FOUND, Accepted, Ask, Call, Capabilities, Flow, Update

VERSION: Final = "v1beta"

#: Seconds and bytes: some gateways give the bytes with the poll.
POLL_TIMEOUT: Final = 180.0
POLL_BYTES: Final = 128 * 2**20

SAMPLES: Final = predictions.Samples(
    title="Veo",
    path=("generateVideoResponse",),
    videos="generatedSamples",
    video=("video",),
    data="encodedVideo",
)

_NAME: Final = re.compile(r"models/[^/]+/operations/[^/]+")


class GeminiVeo(google.GeminiApi):
    """Text and image to video, one at a time, always with sound; no seed, no cancel."""

    name: ClassVar[str] = "gemini_veo"
    needs_base: ClassVar[bool] = True
    capabilities: ClassVar[Capabilities] = Capabilities(
        inline_pictures=True,
        poll_floor=10.0,
        result_lives=172_800.0,
        result_needs_key=True,
        sources={
            "cancel": "no verb in google-genai 2.34.0",
            "inline_pictures": "google-genai 2.34.0 refuses gcs_uri in Gemini mode",
            "look_up": "no listing of operations, no external id in google-genai 2.34.0",
            "needs_base": "ai.google.dev, deprecations: the last Veo models ended on 2026-10-22",
            "poll_floor": "ai.google.dev/gemini-api/docs/video: samples wait 10 seconds",
            "refusals": "google.rpc: 429 RESOURCE_EXHAUSTED; 5xx say nothing of acceptance",
            "result_lives": "ai.google.dev/gemini-api/docs/video: files are kept for 2 days",
        },
    )

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v1beta/models/{model}:predictLongRunning."""
        response = yield Call(
            method="POST",
            path=f"/{VERSION}/models/{answers.segment(ask.upstream)}:predictLongRunning",
            json=predictions.body(ask),
            paid=True,
            timeout=google.SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=predictions.name_in(response.json(), _NAME))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET /v1beta/{name}; an unknown operation is 404 and so missing from the result."""
        updates = {}
        for operation_id in operation_ids:
            models, _, operation = operation_id.partition("/operations/")
            model = answers.segment(models.removeprefix("models/"))
            response = yield Call(
                method="GET",
                path=f"/{VERSION}/models/{model}/operations/{answers.segment(operation)}",
                accept=frozenset({NOT_FOUND}),
                timeout=POLL_TIMEOUT,
                max_bytes=POLL_BYTES,
            )
            if response.status != NOT_FOUND:
                updates[operation_id] = predictions.update_of(response.json(), SAMPLES)
        return updates
