"""The models of the simulated Replicate: input schemas and clips.

Source: the input schemas on replicate.com/<model>/api.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from simulator.video import Clip

Input = Mapping[str, object]
Issue = dict[str, object]

_SHORT_SIDES: Final = {"720p": 720, "1080p": 1080, "standard": 720, "pro": 1080}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model's input schema and defaults."""

    #: Fields with a choice of values, default first.
    choices: Mapping[str, tuple[object, ...]]
    #: Text fields: prompts, and images as URLs or data URIs.
    texts: frozenset[str]
    required: tuple[str, ...] = ("prompt",)
    whole: frozenset[str] = frozenset()
    flags: frozenset[str] = field(default=frozenset())
    #: The field that determines the short side, and the short side if there is none.
    size: str = "resolution"
    short_side: int = 720

    @property
    def members(self) -> frozenset[str]:
        return frozenset((*self.choices, *self.texts, *self.whole, *self.flags))


_VEO: Final = Model(
    choices={
        "aspect_ratio": ("16:9", "9:16"),
        "duration": (8, 4, 6),
        "resolution": ("1080p", "720p"),
    },
    texts=frozenset(("prompt", "negative_prompt", "image", "last_frame")),
    whole=frozenset(("seed",)),
    flags=frozenset(("generate_audio",)),
)

_KLING_TEXTS: Final = frozenset(("prompt", "negative_prompt", "start_image", "end_image"))

MODELS: Final[Mapping[str, Model]] = {
    "google/veo-3.1": _VEO,
    "google/veo-3.1-fast": _VEO,
    "kwaivgi/kling-v2.1": Model(
        choices={"mode": ("standard", "pro"), "duration": (5, 10)},
        texts=_KLING_TEXTS,
        required=("prompt", "start_image"),
        size="mode",
    ),
    "kwaivgi/kling-v2.5-turbo-pro": Model(
        choices={"aspect_ratio": ("16:9", "9:16", "1:1"), "duration": (5, 10)},
        texts=_KLING_TEXTS - {"end_image"},
        short_side=1080,
    ),
}


def complaints(given: Input, model: Model) -> Iterator[Issue]:
    """Validation errors, in the format of `invalid_fields`."""
    for name in model.required:
        if not given.get(name):
            yield _issue("required", f"input.{name}", f"{name} is required")
    for name in sorted(set(given) - model.members):
        message = f"Additional property {name} is not allowed"
        yield _issue("additional_property_not_allowed", "input", message)
    for name, allowed in model.choices.items():
        if name in given and given[name] not in allowed:
            choices = ", ".join(map(str, allowed))
            yield _issue("enum", f"input.{name}", f"{name} must be one of: {choices}")
    for names, kind, word in (
        (model.texts, str, "string"),
        (model.whole, int, "integer"),
        (model.flags, bool, "boolean"),
    ):
        for name in sorted(names & set(given)):
            is_flag = isinstance(given[name], bool)
            if not isinstance(given[name], kind) or (is_flag and kind is not bool):
                yield _issue("invalid_type", f"input.{name}", f"{name} must be a {word}")
    if given.get("end_image") and given.get("mode", "pro") == "standard":
        yield _issue("invalid", "input.end_image", "end_image needs mode pro")


def clip_of(given: Input, model: Model) -> Clip:
    """The clip for a valid input; a first frame's aspect ratio is ignored."""

    def chosen(name: str) -> object:
        return given.get(name, model.choices[name][0])

    seconds = chosen("duration")
    return Clip.shaped(
        str(chosen("aspect_ratio")) if "aspect_ratio" in model.choices else "16:9",
        short_side=(
            _SHORT_SIDES[str(chosen(model.size))]
            if model.size in model.choices
            else model.short_side
        ),
        seconds=seconds if isinstance(seconds, int) else 0,
    )


def _issue(kind: str, where: str, message: str) -> Issue:
    return {"type": kind, "field": where, "description": message}
