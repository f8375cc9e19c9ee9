"""Validates predictLongRunning requests, and derives the clip of a valid one.

Source: google-genai 3.4.0 and 2.34.0; docs.cloud.google.com, Veo video generation API and reference
images (no style with Veo 3.1, none with its lite model); ai.google.dev/gemini-api/docs/veo.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from simulator.checks import is_seed
from simulator.video import Clip

Body = Mapping[str, Any]

SHORT_SIDES: Final = {"720p": 720, "1080p": 1080, "4k": 2160}
RATIOS: Final = ("16:9", "9:16")
SECONDS: Final = (4, 6, 8)
LONGEST: Final = 8
MOST_REFERENCES: Final = 3
#: Part of the names of the models that take no references and make no 4k.
LITE: Final = "-lite-"
_PERSONS: Final = ("allow_all", "allow_adult", "dont_allow")

_PARAMETERS: Final = frozenset(
    (
        *("sampleCount", "durationSeconds", "aspectRatio", "resolution"),
        *("negativePrompt", "personGeneration", "enhancePrompt"),
    )
)
_INSTANCE: Final = frozenset(("prompt", "image", "lastFrame", "referenceImages", "video"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one of the two APIs."""

    models: tuple[str, ...]
    #: Maximum videos per request.
    most: int
    #: Parameters of this API only.
    parameters: frozenset[str] = frozenset()
    #: Images may be in a bucket.
    buckets: bool = False
    #: 1080p and 4k only in the longest duration.
    large_is_long: bool = False


def complaints(body: Body, rules: Rules, model: str) -> Iterator[str]:
    """Validation errors, in order of checking."""
    instances, parameters = body.get("instances"), body.get("parameters", {})
    if not isinstance(instances, list) or len(instances) != 1 or not isinstance(instances[0], dict):
        yield "instances: exactly one is required"
        return
    if not isinstance(parameters, dict):
        yield "parameters: must be an object"
        return
    yield from _instance(instances[0], rules)
    yield from _parameters(parameters, rules)
    if LITE in model:
        yield from _lite(instances[0], parameters)
    if instances[0].get("referenceImages") and parameters.get("durationSeconds", LONGEST) < LONGEST:
        yield "durationSeconds: must be 8 with referenceImages"


def _lite(instance: Body, parameters: Body) -> Iterator[str]:
    if instance.get("referenceImages"):
        yield "referenceImages: not supported by this model"
    if parameters.get("resolution") == "4k":
        yield "resolution: 4k is not supported by this model"


def prompt_in(body: Body) -> str:
    """The prompt of an unvalidated request; "" if it has none."""
    instances = body.get("instances")
    first = instances[0] if isinstance(instances, list) and instances else None
    prompt = first.get("prompt") if isinstance(first, dict) else None
    return prompt if isinstance(prompt, str) else ""


def clip_of(body: Body) -> Clip:
    """The clip of a valid body."""
    parameters = body.get("parameters", {})
    return Clip.shaped(
        parameters.get("aspectRatio", "16:9"),
        short_side=SHORT_SIDES[parameters.get("resolution", "720p")],
        seconds=parameters.get("durationSeconds", LONGEST),
    )


def _instance(instance: Body, rules: Rules) -> Iterator[str]:
    if unknown := sorted(set(instance) - _INSTANCE):
        yield f"Unknown name {', '.join(unknown)} in instances[0]"
    prompt, image = instance.get("prompt"), instance.get("image")
    if not isinstance(prompt, str | None) or not (prompt or image):
        yield "prompt: a text prompt or an image is required"
    for name in ("image", "lastFrame"):
        if name in instance:
            yield from _image(instance[name], name, rules)
    if "lastFrame" in instance and image is None:
        yield "lastFrame: only together with image"
    yield from _references(instance, rules)


def _references(instance: Body, rules: Rules) -> Iterator[str]:
    references = instance.get("referenceImages", [])
    if not isinstance(references, list) or len(references) > MOST_REFERENCES:
        yield f"referenceImages: at most {MOST_REFERENCES}"
        return
    if references and ("image" in instance or "lastFrame" in instance):
        yield "referenceImages: not together with image or lastFrame"
    for index, reference in enumerate(references):
        where = f"referenceImages[{index}]"
        kind = reference.get("referenceType") if isinstance(reference, dict) else None
        if kind not in ("ASSET", "STYLE"):
            yield f"{where}.referenceType: must be ASSET or STYLE"
        elif kind == "STYLE":
            yield f"{where}.referenceType: STYLE is not supported by this model"
        else:
            yield from _image(reference.get("image"), f"{where}.image", rules)


def _image(image: object, where: str, rules: Rules) -> Iterator[str]:
    """Bytes, or a bucket object if the API has bucket access; no other URL."""
    fields = ("bytesBase64Encoded", "gcsUri") if rules.buckets else ("bytesBase64Encoded",)
    if not isinstance(image, dict) or not any(isinstance(image.get(name), str) for name in fields):
        yield f"{where}: must have {' or '.join(fields)}"
    elif not isinstance(image.get("mimeType"), str):
        yield f"{where}.mimeType: is required"


def _parameters(parameters: Body, rules: Rules) -> Iterator[str]:
    if unknown := sorted(set(parameters) - _PARAMETERS - rules.parameters):
        yield f"{', '.join(unknown)}: not supported by this model"
    choices = {
        "durationSeconds": SECONDS,
        "aspectRatio": RATIOS,
        "resolution": tuple(SHORT_SIDES),
        "personGeneration": _PERSONS,
        "generateAudio": (True, False),
        "sampleCount": tuple(range(1, rules.most + 1)),
    }
    for name, allowed in choices.items():
        if name in parameters and parameters[name] not in allowed:
            yield f"{name}: must be one of {', '.join(map(str, allowed))}"
    if not is_seed(parameters.get("seed", 0)):
        yield "seed: must be from 0 to 4294967295"
    large = parameters.get("resolution", "720p") != "720p"
    if rules.large_is_long and large and parameters.get("durationSeconds", LONGEST) != LONGEST:
        yield "resolution: 1080p and 4k are for 8 seconds only"
