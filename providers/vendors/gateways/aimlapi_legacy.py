"""AI/ML API's older video endpoints: one path per vendor.

Source: the vendor's page "Generate Video" of 2025 (gen3a_turbo) and langchain-aimlapi 0.1.3. An
upstream is "vendor/model" and an operation "vendor/id", since the poll needs the vendor.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from providers import answers
from providers.base import NOT_FOUND, Accepted, Ask, Call, Flow, Update
from providers.body import without_none
from providers.vendors.gateways.aimlapi import SUBMIT_TIMEOUT, Aimlapi, poll_call, update_of

PATH: Final = "/v2/generate/video/{vendor}/generation"


class AimlapiLegacy(Aimlapi):
    """The same account and responses under older paths, with older field names."""

    name: ClassVar[str] = "aimlapi_legacy"

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v2/generate/video/{vendor}/generation."""
        vendor, _, model = ask.upstream.partition("/")
        response = yield Call(
            method="POST",
            path=_path(vendor),
            json=_body(ask, model=model),
            paid=True,
            timeout=SUBMIT_TIMEOUT,
        )
        generation = answers.identifier(response.json(), "id")
        return Accepted(operation_id=f"{vendor}/{generation}")

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET the same path with ?generation_id=; 404 is omitted."""
        updates = {}
        for operation_id in operation_ids:
            vendor, _, generation = operation_id.partition("/")
            response = yield poll_call(_path(vendor), generation)
            if response.status != NOT_FOUND:
                updates[operation_id] = update_of(response.json())
        return updates


def _path(vendor: str) -> str:
    return PATH.format(vendor=answers.segment(vendor))


def _body(ask: Ask, *, model: str) -> dict[str, Any]:
    scene = ask.scene
    body = {
        "model": model,
        "prompt": scene.prompt,
        "ratio": ask.aspect_ratio,
        "image_url": scene.image,
        "last_image_url": scene.last_image,
        "duration": ask.duration_seconds,
        "seed": scene.seed,
        "watermark": scene.watermark,
    }
    return without_none(body)
