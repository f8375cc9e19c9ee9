"""Veo on the Gemini API, as in google-genai 2.34.0, for gateways that still serve it.

Google retired it on 2026-10-22 (404), so `GOOGLE_GEMINI_BASE_URL` must name a gateway.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import ClassVar, Final

from providers import answers
from providers.base import NOT_FOUND, Accepted, Ask, Call, Capabilities, Flow, Retired, Update
from providers.vendors.google import predictions
from providers.vendors.google import shared as google

VERSION: Final = "v1beta"

#: In seconds and bytes: some gateways return the video inline with the poll.
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
    retired: ClassVar[Retired | None] = Retired(
        vendor="Google", on=date(2026, 10, 22), instead=("gemini-omni-1.1-flash",)
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        inline_pictures=True,
        poll_floor=10.0,
        result_lives=172_800.0,
        result_needs_key=True,
        sources={
            "cancel": "not in google-genai 2.34.0",
            "inline_pictures": "google-genai 2.34.0 refuses gcs_uri in Gemini mode",
            "look_up": "no listing of operations, no external id in google-genai 2.34.0",
            "retired": "ai.google.dev, deprecations: last Veo models retired on 2026-10-22",
            "poll_floor": "ai.google.dev/gemini-api/docs/video: samples wait 10 seconds",
            "refusals": "google.rpc: 429 RESOURCE_EXHAUSTED; 5xx do not prove refusal",
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
        """GET /v1beta/{name}; 404 is omitted."""
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
