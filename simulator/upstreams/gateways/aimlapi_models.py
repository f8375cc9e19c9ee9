"""The schemas of the simulated AI/ML API models.

Source: aimlapi/api-docs f14fa72, docs/api-references/video-models.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from simulator.video import Clip

#: Frames per second; undocumented.
FPS: Final = 24

_SHORT_SIDES: Final = {"360p": 360, "540p": 540, "720p": 720, "1080p": 1080}
_WIDE: Final = ("16:9", "9:16")
_SIX: Final = (*_WIDE, "4:3", "3:4", "1:1", "21:9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """One model; the first value of a list is the default, an empty list a missing field."""

    seconds: tuple[int, ...]
    ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    #: Resolution if none can be requested; Kling's pro mode is 1080p.
    makes: str = "720p"
    required: tuple[str, ...] = ("prompt",)
    #: Further fields.
    others: tuple[str, ...] = ()

    @property
    def members(self) -> frozenset[str]:
        choices = {"aspect_ratio": self.ratios, "resolution": self.resolutions}
        named = (name for name, allowed in choices.items() if allowed)
        return frozenset(("model", "prompt", "duration", *named, *self.required, *self.others))


_VEO: Final = ("generate_audio", "provider")
_KLING: Final = ("negative_prompt", "cfg_scale", "provider")
_V3: Final = (*_KLING, "multi_prompt", "shot_type", "generate_audio")
_VEO_SIZES: Final = ("1080p", "720p")
_FRAME: Final = ("prompt", "image_url")

MODELS: Final[Mapping[str, Schema]] = {
    "google/veo-3.1-t2v": Schema(
        seconds=(8, 4, 6),
        ratios=_WIDE,
        resolutions=_VEO_SIZES,
        others=(*_VEO, "seed", "negative_prompt", "auto_fix", "enhance_prompt"),
    ),
    "google/veo-3.1-i2v": Schema(
        seconds=(8, 4, 6), ratios=_WIDE, resolutions=_VEO_SIZES, required=_FRAME, others=_VEO
    ),
    "google/veo-3.1-first-last-image-to-video": Schema(
        seconds=(8, 4, 6),
        ratios=_WIDE,
        resolutions=_VEO_SIZES,
        required=(*_FRAME, "last_image_url"),
        others=_VEO,
    ),
    "google/veo-3.1-reference-to-video": Schema(
        seconds=(8,), resolutions=_VEO_SIZES, required=("prompt", "image_urls"), others=_VEO
    ),
    "runway/gen4_turbo": Schema(
        seconds=(5, 10), ratios=_SIX, required=("image_url",), others=("tail_image_url", "seed")
    ),
    "gen3a_turbo": Schema(
        seconds=(5, 10), ratios=_WIDE, required=("image_url",), others=("tail_image_url", "seed")
    ),
    "klingai/video-v3-standard-text-to-video": Schema(
        seconds=(5, 3, 4, *range(6, 16)), ratios=(*_WIDE, "1:1"), required=(), others=_V3
    ),
    "klingai/video-v3-standard-image-to-video": Schema(
        seconds=(5, 3, 4, *range(6, 16)),
        required=("image_url",),
        others=(*_V3, "tail_image_url", "elements"),
    ),
    "klingai/v2.5-turbo/pro/text-to-video": Schema(
        seconds=(5, 10), ratios=(*_WIDE, "1:1"), makes="1080p", others=_KLING
    ),
    "klingai/v2.5-turbo/pro/image-to-video": Schema(
        seconds=(5, 10), makes="1080p", required=_FRAME, others=_KLING
    ),
    "luma/ray-3.2": Schema(
        seconds=(5, 10),
        ratios=_SIX,
        resolutions=("720p", "360p", "540p", "1080p"),
        others=("image_url", "last_image_url", "video_url", "type", "loop", "hdr", "exr_export"),
    ),
}


def complaints(body: Mapping[str, object]) -> Iterator[str]:
    """Validation errors, in order of checking."""
    schema = MODELS.get(str(body.get("model")))
    if schema is None:
        yield "model: unknown"
        return
    for name in schema.required:
        if not body.get(name):
            yield f"{name}: Required"
    if unknown := sorted(set(body) - schema.members):
        yield f"{', '.join(unknown)}: Unrecognized"
    for name, allowed in (
        ("duration", schema.seconds),
        ("aspect_ratio", schema.ratios),
        ("resolution", schema.resolutions),
    ):
        if body.get(name) is not None and body[name] not in allowed:
            yield f"{name}: Expected one of {allowed}, Received {body[name]!r}"
    for name in ("image_url", "last_image_url", "tail_image_url"):
        if not _is_image(body.get(name)):
            yield f"{name}: Expected a URL"


def clip_of(body: Mapping[str, object], schema: Schema) -> Clip:
    """The clip; an image's aspect ratio is ignored."""
    resolution = body.get("resolution") or next(iter(schema.resolutions), schema.makes)
    seconds = body.get("duration") or schema.seconds[0]
    ratio = body.get("aspect_ratio") or next(iter(schema.ratios), "16:9")
    return Clip.shaped(
        str(ratio),
        short_side=_SHORT_SIDES[str(resolution)],
        seconds=seconds if isinstance(seconds, int) else schema.seconds[0],
        fps=FPS,
    )


def _is_image(value: object) -> bool:
    return value is None or (
        isinstance(value, str) and value.startswith(("https://", "http://", "data:image/"))
    )
