"""AI/ML API's older endpoints, one per vendor: Runway's gen3a_turbo as of 2025.

Source: the vendor's page "Generate Video" of 2025 and langchain-aimlapi 0.1.3, whose `n` and
`response_format` are also accepted. As documented, only prompt and ratio are required.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from aiohttp import web

from simulator.faults import Step
from simulator.upstream import Endpoint, Refusal, read_object
from simulator.upstreams.gateways.aimlapi import Aimlapi

#: Models by vendor in the path, with their names on the universal endpoint.
MODELS: Final[Mapping[str, Mapping[str, str]]] = {
    "runway": {"gen3a_turbo": "gen3a_turbo"},
    "google": {"google/veo3": "google/veo-3.1-t2v"},
}
LONGEST_PROMPT: Final = 512
_RATIOS: Final = ("16:9", "9:16")
_SECONDS: Final = (5, 10)
_MEMBERS: Final = frozenset(
    (
        *("model", "prompt", "ratio", "image_url", "last_image_url", "duration"),
        *("seed", "watermark", "n", "response_format"),
    )
)


class AimlapiLegacy(Aimlapi):
    """The same generations under another path, with older model names."""

    name: ClassVar[str] = "aimlapi_legacy"
    prefix: ClassVar[str] = "/aimlapi/v2/generate"
    also_below: ClassVar[tuple[str, ...]] = ()

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/video/{vendor}/generation", self.submit, Step.SUBMIT),
            Endpoint("GET", "/video/{vendor}/generation", self.poll, Step.POLL),
            self.download_endpoint(),
        )

    async def submit(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        models = MODELS.get(request.match_info["vendor"], {})
        model = models.get(str(body.get("model")))
        if model is None:
            raise Refusal(404, "Model not found")
        if ratio := body.get("ratio"):
            body = body | {"aspect_ratio": ratio}
        return self.started(request, body | {"model": model})

    def complaints(self, body: Mapping[str, object]) -> Iterator[str]:
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            yield "prompt: Required"
        elif len(prompt) > LONGEST_PROMPT:
            yield f"prompt: Expected at most {LONGEST_PROMPT} characters"
        if unknown := sorted(set(body) - _MEMBERS - {"aspect_ratio"}):
            yield f"{', '.join(unknown)}: Unrecognized"
        for name, allowed in (("ratio", _RATIOS), ("duration", _SECONDS)):
            if body.get(name) is not None and body[name] not in allowed:
                yield f"{name}: Expected one of {allowed}"
        if not isinstance(body.get("watermark") or False, bool):
            yield "watermark: Expected boolean"
