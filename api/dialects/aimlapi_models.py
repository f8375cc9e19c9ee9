"""AI/ML API's names of models: what its document allows with each, and which of ours makes it.

Source: aimlapi/api-docs f14fa72, one schema per model, and its page "Generate Video" of 2025 for
gen3a_turbo on the older path. Models that need a video or sound as input are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from catalog.routes import PromptLimit

_WIDE: Final = ("16:9", "9:16")
_THREE: Final = (*_WIDE, "1:1")
_SIX: Final = (*_THREE, "4:3", "3:4", "21:9")
_SEVEN: Final = (*_SIX, "9:21")
_TO_15: Final = tuple(range(3, 16))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What the document allows with one model."""

    #: The catalogue's name of the model that makes it.
    model: str
    #: Whether that is a successor of the named one, which is not made any more.
    is_successor: bool = False
    #: In seconds; the first is the document's default.
    seconds: tuple[int, ...]
    #: Empty: there is no such field, and one is ignored as any other unknown field.
    ratios: tuple[str, ...] = ()
    #: In lower case; the first is the document's default. Empty: as for ratios.
    resolutions: tuple[str, ...] = ()
    #: What the model's name stands for, where a request can't choose.
    makes: str | None = None
    prompt_limit: PromptLimit | None = None
    #: The largest seed, and the largest `cfg_scale`, where the document has one.
    largest_seed: int | None = None
    largest_scale: float | None = None


def _prompt(most: int) -> PromptLimit:
    return PromptLimit(most=most, unit="characters")


_VEO: Final = Schema(model="veo3.1", seconds=(8, 4, 6), ratios=_WIDE, resolutions=("1080p", "720p"))
_VEO_FAST: Final = replace(_VEO, model="veo3.1_fast")
_VEO_LITE: Final = replace(_VEO, model="veo3.1_lite")
_VEO_3: Final = replace(_VEO, resolutions=("720p", "1080p"))
_VEO_3_FAST: Final = replace(_VEO_3, model="veo3.1_fast")
_VEO_2: Final = replace(_VEO, is_successor=True, seconds=(5, 6, 7, 8), resolutions=())
_OMNI: Final = Schema(
    model="gemini-omni-1.1-flash",
    seconds=(8, 3, 4, 5, 6, 7, 9, 10),
    ratios=_WIDE,
    resolutions=("720p",),
)
_GEN4: Final = Schema(
    model="gen4_turbo",
    seconds=(5, 10),
    ratios=_SIX,
    prompt_limit=PromptLimit(most=1000, unit="utf16"),  # as the vendor counts it
    largest_seed=2**32 - 1,
)
_GEN3: Final = replace(_GEN4, model="gen3a_turbo", ratios=_WIDE)
#: The page of 2025 had a default of 10 s.
_GEN3_LEGACY: Final = replace(
    _GEN3, seconds=(10, 5), prompt_limit=PromptLimit(most=512, unit="utf16")
)
_KLING_3: Final = Schema(
    model="kling-3.0",
    seconds=(5, *_TO_15),
    ratios=_THREE,
    makes="720p",
    largest_scale=1,
)
_KLING_3_PRO: Final = replace(_KLING_3, makes="1080p")
_KLING_3_TURBO: Final = replace(_KLING_3, model="kling-3.0-turbo", prompt_limit=_prompt(3072))
_KLING_3_TURBO_PRO: Final = replace(_KLING_3_TURBO, makes="1080p")
_KLING_26: Final = replace(
    _KLING_3_PRO, model="kling-v2-6", seconds=(5, 10), prompt_limit=_prompt(2500)
)
_KLING_25: Final = replace(_KLING_26, model="kling-v2-5-turbo", prompt_limit=None)
_KLING_21: Final = replace(_KLING_25, model="kling-v2.1", makes="720p")
_KLING_21_PRO: Final = replace(_KLING_21, makes="1080p")
_KLING_OLD: Final = replace(_KLING_25, is_successor=True)
_RAY_32: Final = Schema(
    model="ray-3.2",
    seconds=(5, 10),
    ratios=_SIX,
    resolutions=("720p", "360p", "540p", "1080p"),
)
_RAY_2: Final = Schema(
    model="ray-2", seconds=(5, 9), ratios=_SEVEN, resolutions=("1080p", "540p", "720p", "4k")
)
_HAILUO: Final = Schema(
    model="hailuo-2.3",
    seconds=(6, 10),
    resolutions=("768p", "1080p"),
    prompt_limit=_prompt(2000),
)
_H3: Final = Schema(
    model="hailuo-3",
    seconds=(6, *range(4, 16)),
    ratios=("adaptive", *_SIX),
    resolutions=("2k",),
    prompt_limit=_prompt(7000),
)
_VIDEO_01: Final = replace(_HAILUO, is_successor=True, seconds=(6,), resolutions=())
_SORA: Final = Schema(model="sora-2", seconds=(4, 8, 12), ratios=_WIDE, resolutions=("720p",))
_SORA_PRO: Final = replace(_SORA, model="sora-2-pro", resolutions=("1080p", "720p"))

#: By vendor, as the older paths name it; the first model is that of a request without one.
VENDORS: Final[Mapping[str, Mapping[str, Schema]]] = {
    "runway": {
        "gen3a_turbo": _GEN3,
        "runway/gen4_turbo": _GEN4,
        "runway-gen3/turbo/image-to-video": _GEN3,
    },
    "google": {
        "google/veo3": _VEO_3,
        "google/veo-3.0-i2v": _VEO_3,
        "google/veo-3.0-fast": _VEO_3_FAST,
        "google/veo-3.0-i2v-fast": _VEO_3_FAST,
        "google/veo-3.1-t2v": _VEO,
        "google/veo-3.1-i2v": _VEO,
        "google/veo-3.1-first-last-image-to-video": _VEO,
        "google/veo-3.1-reference-to-video": _VEO,
        "google/veo-3.1-t2v-fast": _VEO_FAST,
        "google/veo-3.1-i2v-fast": _VEO_FAST,
        "google/veo-3.1-first-last-image-to-video-fast": _VEO_FAST,
        "veo-3.1-lite-generate-001": replace(_VEO_LITE, resolutions=("720p", "1080p")),
        "google/veo-3-1-lite-generate-preview": _VEO_LITE,
        "google/gemini-omni-flash-preview": _OMNI,
        "veo2": _VEO_2,
        "veo2/image-to-video": _VEO_2,
    },
    "kling": {
        "klingai/v2.5-turbo/pro/text-to-video": _KLING_25,
        "klingai/v2.5-turbo/pro/image-to-video": _KLING_25,
        "klingai/video-v3-standard-text-to-video": _KLING_3,
        "klingai/video-v3-standard-image-to-video": _KLING_3,
        "klingai/video-v3-pro-text-to-video": _KLING_3_PRO,
        "klingai/video-v3-pro-image-to-video": _KLING_3_PRO,
        "klingai/video-v3-standard-turbo-text-to-video": _KLING_3_TURBO,
        "klingai/video-v3-standard-turbo-image-to-video": _KLING_3_TURBO,
        "klingai/video-v3-turbo-pro-text-to-video": _KLING_3_TURBO_PRO,
        "klingai/video-v3-turbo-pro-image-to-video": _KLING_3_TURBO_PRO,
        "klingai/video-v2-6-pro-text-to-video": _KLING_26,
        "klingai/video-v2-6-pro-image-to-video": _KLING_26,
        "kling-video/v2.1/standard/image-to-video": _KLING_21,
        "kling-video/v2.1/pro/image-to-video": _KLING_21_PRO,
        **dict.fromkeys(
            (
                *(f"klingai/v2.1-master-{kind}-to-video" for kind in ("text", "image")),
                *(f"klingai/v2-master-{kind}-to-video" for kind in ("text", "image")),
                *(
                    f"kling-video/{version}/{tier}/{kind}-to-video"
                    for version in ("v1.6", "v1.5", "v1")
                    for tier in ("standard", "pro")
                    for kind in ("text", "image")
                ),
            ),
            _KLING_OLD,
        ),
    },
    "luma-ai": {
        "luma/ray-2": _RAY_2,
        "luma/ray-flash-2": replace(_RAY_2, model="ray-flash-2"),
        "luma/ray-3.2": _RAY_32,
        "luma/ray-1-6": replace(_RAY_2, is_successor=True, seconds=(5,), resolutions=()),
    },
    "minimax": {
        "minimax/hailuo-2.3": _HAILUO,
        "minimax/hailuo-2.3-fast": replace(_HAILUO, model="hailuo-2.3-fast"),
        "minimax/hailuo-02": replace(_HAILUO, model="hailuo-02"),
        "minimax/h3": _H3,
        "video-01": _VIDEO_01,
        "video-01-live2d": _VIDEO_01,
    },
    "openai": {
        "openai/sora-2-t2v": _SORA,
        "openai/sora-2-i2v": _SORA,
        "openai/sora-2-pro-t2v": _SORA_PRO,
        "openai/sora-2-pro-i2v": _SORA_PRO,
    },
}

#: By name, on the universal path.
UNIVERSAL: Final[Mapping[str, Schema]] = {
    name: schema for models in VENDORS.values() for name, schema in models.items()
}

#: By vendor, on its older path.
LEGACY: Final[Mapping[str, Mapping[str, Schema]]] = {
    **VENDORS,
    "runway": {
        name: _GEN3_LEGACY if schema is _GEN3 else schema
        for name, schema in VENDORS["runway"].items()
    },
    "luma-ai/v2": VENDORS["luma-ai"],
}
