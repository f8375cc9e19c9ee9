"""AI/ML API's universal video endpoint: https://docs.aimlapi.com, one path for every model.

Source: aimlapi/api-docs f14fa72 (one schema per model) and aimlapi-sdk-python 2.24.0rc1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from models.failure import Failure, Fault
from providers import answers, failures
from providers.base import (
    NOT_FOUND,
    Accepted,
    Account,
    Ask,
    Call,
    Capabilities,
    Flow,
    Phase,
    Provider,
    Update,
    Video,
)
from providers.body import without_none
from providers.vendors.gateways import shared as gateway
from transport.base import Response

PATH: Final = "/v2/video/generations"
#: In seconds; long, for POSTs with images, but under the SDK's 600.
SUBMIT_TIMEOUT: Final = 120.0
#: "credits_used" 120000 corresponds to "usd_spent" 0.06 in the schema of luma/ray-3.2.
MICROS_PER_CREDIT: Final = 0.5

#: Values of `status`; only older samples have "waiting" and "active".
PHASES: Final[Mapping[str, Phase]] = {
    "waiting": Phase.QUEUED,
    "active": Phase.RUNNING,
    "queued": Phase.QUEUED,
    "generating": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "error": Phase.FAILED,
}

#: The documentation defines 403 as "You've run out of credits".
FAULTS: Final[Mapping[int, Fault]] = {403: Fault.QUOTA}

CAPABILITIES: Final = Capabilities(
    submit_timeout=SUBMIT_TIMEOUT,
    poll_floor=10.0,
    result_lives=86_400.0,
    sources={
        "cancel": "docs.aimlapi.com has create and retrieve only",
        "look_up": "no listing of generations, no external id in docs.aimlapi.com",
        "poll_floor": "docs.aimlapi.com: the samples wait 10 to 15 seconds",
        "refusals": "docs.aimlapi.com/errors-and-messages: the 4xx; 5xx may come after acceptance",
        "result_lives": "docs.aimlapi.com, Runway: links expire within 24 to 48 hours",
        "submit_timeout": "estimate: undocumented",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Fields that only some schemas have, and the name of the last frame's."""

    aspect_ratio: bool = True
    resolution: bool = False
    last_image: str = "last_image_url"


#: By substring of the model name: the first match.
FIELDS: Final[tuple[tuple[str, Fields], ...]] = (
    ("reference-to-video", Fields(aspect_ratio=False, resolution=True)),
    ("google/", Fields(resolution=True)),
    ("luma/", Fields(resolution=True)),
    ("image-to-video", Fields(aspect_ratio=False, last_image="tail_image_url")),
    ("runway/", Fields(last_image="tail_image_url")),
)


class Aimlapi(Provider):
    """Every video model of AI/ML API: no progress, no cancel; reports cost.

    A result's URL is on the vendor's CDN and needs no key.
    """

    name: ClassVar[str] = "aimlapi"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (("AIMLAPI_API_KEY",),)
    base_variable: ClassVar[str] = "AIMLAPI_BASE_URL"
    default_base: ClassVar[str] = "https://api.aimlapi.com"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def account(self, variables: Mapping[str, str], *, base_url: str | None) -> Account:
        """The account; the vendor's clients take base URLs that end in /v1 or /v2."""
        base = (base_url or self.default_base).removesuffix("/v1").removesuffix("/v2")
        return Account(name=self.name, provider=self.name, base_url=base, credentials=variables)

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST /v2/video/generations, with the fields of the model's own schema."""
        response = yield Call(
            method="POST", path=PATH, json=_body(ask), paid=True, timeout=SUBMIT_TIMEOUT
        )
        return Accepted(operation_id=answers.identifier(response.json(), "id"))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """GET PATH with ?generation_id=; a 404 leaves the id out."""
        updates = {}
        for operation_id in operation_ids:
            response = yield poll_call(PATH, operation_id)
            if response.status != NOT_FOUND:
                updates[operation_id] = update_of(response.json())
        return updates

    def explain(self, response: Response) -> Failure:
        """Classify by status and the body's `message`."""
        words = failures.words_of(response, "message")
        fault = FAULTS.get(response.status)
        return gateway.explain(response, title="AI/ML API", words=words, fault=fault)


def poll_call(path: str, generation_id: str) -> Call:
    return Call(
        method="GET",
        path=path,
        query={"generation_id": generation_id},
        accept=frozenset({NOT_FOUND}),
    )


def update_of(generation: object) -> Update:
    """A generation's update; `aimlapi_legacy` uses it."""
    phase = answers.phase(generation, "status", among=PHASES)
    return Update(
        phase=phase,
        videos=_videos(generation) if phase is Phase.SUCCEEDED else (),
        failure=_failure(generation) if phase is Phase.FAILED else None,
        cost_micros=_cost(generation) if phase.is_final else None,
    )


def _fields_of(model: str) -> Fields:
    return next((fields for part, fields in FIELDS if part in model), Fields())


def _body(ask: Ask) -> dict[str, Any]:
    scene = ask.scene
    fields = _fields_of(ask.upstream)
    body = {
        "model": ask.upstream,
        "prompt": scene.prompt,
        "aspect_ratio": ask.aspect_ratio if fields.aspect_ratio else None,
        "duration": ask.duration_seconds,
        "resolution": ask.resolution if fields.resolution else None,
        "image_url": scene.image,
        fields.last_image: scene.last_image,
        "image_urls": [each.image for each in scene.reference_images] or None,
        "negative_prompt": scene.negative_prompt,
        "cfg_scale": scene.cfg_scale,
        "seed": scene.seed,
        "generate_audio": scene.audio,
    }
    return without_none(body)


def _videos(generation: object) -> tuple[Video, ...]:
    """`video` is `{"url"}`; in 2025 a list of URLs."""
    video = answers.optional(generation, "video")
    if not isinstance(video, list):
        return (Video(url=answers.link(answers.text(answers.record(generation, "video"), "url"))),)
    if not video:
        msg = "'video' is empty although the generation completed"
        raise answers.Undocumented(msg)
    return tuple(Video(url=answers.link(url)) for url in video)


def _failure(generation: object) -> Failure:
    """`error` has a name and a message; neither has documented values."""
    if answers.optional(generation, "error") is None:
        return gateway.ended(None, title="AI/ML API")
    error = answers.record(generation, "error")
    name, words = (answers.optional_text(error, field) for field in ("name", "message"))
    return gateway.ended(words, title="AI/ML API", code=name)


def _cost(generation: object) -> int | None:
    """The charge in micros, from `meta.usage`; absent in older responses."""
    found = generation
    for field in ("meta", "usage"):
        if answers.optional(found, field) is None:
            return None
        found = answers.record(found, field)
    if (dollars := answers.optional_number(found, "usd_spent")) is not None:
        return round(dollars * 1_000_000)
    credits_used = answers.optional_number(found, "credits_used")
    return None if credits_used is None else round(credits_used * MICROS_PER_CREDIT)
