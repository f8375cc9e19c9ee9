"""Runway's video models: accepted fields and prices, from runwayml 5.24.0's types.

A conformance test compares the names, fields, ratios and resolutions with the SDK's own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

_USUAL_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Rule:
    """One model at one endpoint: its fields besides `model`, and their allowed values."""

    required: frozenset[str]
    optional: frozenset[str]
    #: Allowed `duration` in whole seconds.
    seconds: Collection[int]
    #: Whether `duration` may be "auto".
    auto: bool
    #: Allowed `ratio`; empty: any text.
    ratios: tuple[str, ...]
    resolutions: tuple[str, ...]

    @property
    def fields(self) -> frozenset[str]:
        return self.required | self.optional | {"model"}

    @property
    def default_seconds(self) -> int:
        """5, or the maximum without 5; undocumented."""
        return _USUAL_SECONDS if _USUAL_SECONDS in self.seconds else max(self.seconds)


#: For models whose SDK type is just "int".
_ANY: Final = range(1, 31)
_VEO: Final = (4, 6, 8)

_HD: Final = "1280:720 720:1280"
_FULL_HD: Final = "1280:720 720:1280 1080:1920 1920:1080"
_KLING_STANDARD: Final = "1280:720 720:1280 960:960"
_KLING_PRO: Final = "1920:1080 1080:1920 1440:1440"
_KLING_4K: Final = "3840:2160 2160:3840 2880:2880"
_GEN4: Final = "1280:720 720:1280 1104:832 960:960 832:1104 1584:672"
_HAILUO: Final = "adaptive 21:9 16:9 4:3 1:1 3:4 9:16"
_HAILUO_SIZES: Final = "768p 2k 768P 2K"
_OMNI: Final = "640:360 360:640 1280:720 720:1280 1920:1080 1080:1920 3840:2160 2160:3840"
_SEED_HD: Final = (
    "992:432 864:496 752:560 640:640 560:752 496:864"
    " 1470:630 1280:720 1112:834 960:960 834:1112 720:1280"
)
_SEED_FULL_HD: Final = " 2206:946 1920:1080 1664:1248 1440:1440 1248:1664 1080:1920"
_SEED_4K: Final = " 3840:1646 3840:2160 3840:2880 3840:3840 2880:3840 2160:3840"
_SEED_2_5: Final = (
    "992:432 854:480 752:560 640:640 560:752 480:854"
    " 1470:630 1280:720 1112:834 960:960 834:1112 720:1280" + _SEED_FULL_HD
)
_HAPPYHORSE: Final = (
    "1280:720 720:1280 960:960 1108:832 832:1108 1920:1080 1080:1920 1440:1440 1662:1248 1248:1662"
)
_WAN: Final = (
    "832:480 720:544 624:624 544:720 480:832 1280:720 1104:832 960:960 832:1104 720:1280"
    " 1920:1080 1648:1248 1440:1440 1248:1648 1080:1920 auto_480p auto_720p auto_1080p"
)
_GROK_LITE: Final = (
    "848:480 480:848 480:480 640:480 480:640 720:480 480:720 1280:720 720:1280 720:720"
    " 960:720 720:960 1088:720 720:1088 1904:1072 1072:1904 1424:1424 1648:1232 1232:1648"
    " 1744:1152 1152:1744"
)


def _rule(
    fields: str,
    *,
    seconds: Collection[int] = _ANY,
    auto: bool = False,
    ratios: str = "",
    resolutions: str = "",
) -> Rule:
    """A rule; required fields are marked with an exclamation mark."""
    names = fields.split()
    return Rule(
        required=frozenset(name[:-1] for name in names if name.endswith("!")),
        optional=frozenset(name for name in names if not name.endswith("!")),
        seconds=seconds,
        auto=auto,
        ratios=tuple(ratios.split()),
        resolutions=tuple(resolutions.split()),
    )


_GEN4_5: Final = "contentModeration outputFormat proresProfile seed"
_VEO_FIELDS: Final = "audio duration negativePrompt seed"
_KLING_3: Final = "audio cfgScale duration promptText providerSettings"
_KLING_O3: Final = "audio duration promptText providerSettings"
_REFERENCES: Final = "referenceAudio references referenceVideos"

TEXT_TO_VIDEO: Final[Mapping[str, Rule]] = {
    "gen4.5": _rule(f"promptText! duration! ratio! {_GEN4_5}", seconds=range(2, 11), ratios=_HD),
    "veo3.1": _rule(f"promptText! ratio! {_VEO_FIELDS}", seconds=_VEO, ratios=_FULL_HD),
    "veo3.1_fast": _rule(f"promptText! ratio! {_VEO_FIELDS}", seconds=_VEO, ratios=_FULL_HD),
    "klingO3_4k": _rule(f"ratio! {_KLING_O3}", ratios=_KLING_4K),
    "klingO3_pro": _rule(f"ratio! {_KLING_O3}", ratios=_KLING_PRO),
    "klingO3_standard": _rule(f"ratio! {_KLING_O3}", ratios=_KLING_STANDARD),
    "kling3.0_4k": _rule(f"ratio! {_KLING_3}", ratios=_KLING_4K),
    "kling3.0_pro": _rule(f"ratio! {_KLING_3}", ratios=_KLING_PRO),
    "kling3.0_standard": _rule(f"ratio! {_KLING_3}", ratios=_KLING_STANDARD),
    "kling2.5_turbo_pro": _rule(
        "promptText! cfgScale duration ratio",
        seconds=(5, 10),
        ratios="1920:1080 1440:1440 1080:1920 1280:720 720:720 720:1280",
    ),
    "kling_4": _rule(
        "promptText! duration ratio references referenceVideos",
        ratios=f"{_HD} 940:940 1460:624 {_KLING_PRO} 2200:940 auto_720p auto_1080p",
    ),
    "hailuo3": _rule(
        f"promptText! duration ratio resolution {_REFERENCES}",
        ratios=_HAILUO,
        resolutions=_HAILUO_SIZES,
    ),
    "happyhorse_1_0": _rule("promptText! duration ratio", ratios=_HAPPYHORSE),
    "seedance2": _rule(
        f"promptText! audio duration ratio seed {_REFERENCES}",
        auto=True,
        ratios=_SEED_HD + _SEED_FULL_HD + _SEED_4K,
    ),
    "seedance2_fast": _rule(
        f"promptText! audio duration ratio seed {_REFERENCES}", auto=True, ratios=_SEED_HD
    ),
    "seedance2_mini": _rule(
        f"promptText! audio duration ratio seed {_REFERENCES}", auto=True, ratios=_SEED_HD
    ),
    "seedance2_5": _rule(
        "audio draft draftTaskId duration outputFormat promptText ratio seed " + _REFERENCES,
        auto=True,
        ratios=_SEED_2_5,
    ),
    "gemini_omni_flash": _rule("promptText! duration ratio", seconds=range(3, 11), ratios=_HD),
    "gemini_omni_flash_1.1": _rule(
        "promptText! duration ratio references referenceVideos",
        seconds=range(3, 11),
        auto=True,
        ratios=_OMNI,
    ),
    "grok_imagine_1_5": _rule(
        "promptText! duration ratio resolution referenceAudio references",
        ratios="1:1 16:9 9:16 4:3 3:4 3:2 2:3",
        resolutions="480p 720p 1080p",
    ),
    "grok_imagine_1_5_lite": _rule("promptText! duration ratio", ratios=_GROK_LITE),
    "wan3": _rule(f"promptText! audio duration ratio {_REFERENCES}", ratios=_WAN),
    "wan3_prime": _rule(f"promptText! audio duration ratio {_REFERENCES}", ratios=_WAN),
    "h3_max": _rule(
        "promptText! duration promptExpansionMode resolution seed", resolutions="480p 768p"
    ),
}

IMAGE_TO_VIDEO: Final[Mapping[str, Rule]] = {
    "gen4.5": _rule(
        f"promptImage! promptText! duration! ratio! {_GEN4_5}", seconds=range(2, 11), ratios=_GEN4
    ),
    "gen4_turbo": _rule(
        "promptImage! ratio! contentModeration duration promptText seed",
        seconds=range(2, 11),
        ratios=_GEN4,
    ),
    "veo3.1": _rule(f"promptImage! ratio! promptText {_VEO_FIELDS}", seconds=_VEO, ratios=_FULL_HD),
    "veo3.1_fast": _rule(
        f"promptImage! ratio! promptText {_VEO_FIELDS}", seconds=_VEO, ratios=_FULL_HD
    ),
    "klingO3_4k": _rule(f"promptImage! ratio references {_KLING_O3}", ratios=_KLING_4K),
    "klingO3_pro": _rule(f"promptImage! ratio references {_KLING_O3}", ratios=_KLING_PRO),
    "klingO3_standard": _rule(f"promptImage! ratio references {_KLING_O3}", ratios=_KLING_STANDARD),
    "kling3.0_4k": _rule(f"promptImage! ratio {_KLING_3}", ratios=_KLING_4K),
    "kling3.0_pro": _rule(f"promptImage! ratio {_KLING_3}", ratios=_KLING_PRO),
    "kling3.0_standard": _rule(f"promptImage! ratio {_KLING_3}", ratios=_KLING_STANDARD),
    "kling2.5_turbo_pro": _rule("promptImage! promptText! cfgScale duration", seconds=(5, 10)),
    "kling_4": _rule(
        "promptImage! duration promptText ratio references referenceVideos",
        ratios="auto_720p auto_1080p",
    ),
    "hailuo3": _rule(
        "promptImage! promptText! duration ratio referenceAudio resolution",
        ratios=_HAILUO,
        resolutions=_HAILUO_SIZES,
    ),
    "happyhorse_1_0": _rule(
        "promptImage! duration promptText resolution", resolutions="720p 1080p 720P 1080P"
    ),
    "seedance2": _rule(
        "promptImage! audio duration promptText ratio referenceAudio seed",
        auto=True,
        ratios=_SEED_HD + _SEED_FULL_HD + _SEED_4K,
    ),
    "seedance2_fast": _rule(
        "promptImage! audio duration promptText ratio referenceAudio seed",
        auto=True,
        ratios=_SEED_HD,
    ),
    "seedance2_mini": _rule(
        "promptImage! audio duration promptText ratio referenceAudio seed",
        auto=True,
        ratios=_SEED_HD,
    ),
    "seedance2_5": _rule(
        "promptImage! audio draft duration outputFormat promptText ratio referenceAudio seed",
        auto=True,
        ratios=_SEED_2_5,
    ),
    "gemini_omni_flash": _rule(
        "promptImage! duration promptText ratio", seconds=range(3, 11), ratios=_HD
    ),
    "gemini_omni_flash_1.1": _rule(
        "promptImage! promptText! duration ratio", seconds=range(3, 11), auto=True, ratios=_OMNI
    ),
    "grok_imagine_1_5": _rule(
        "promptImage! duration promptText resolution", resolutions="480p 720p 1080p"
    ),
    "grok_imagine_1_5_lite": _rule(
        "promptImage! duration promptText ratio", ratios="auto_480p auto_720p auto_1080p"
    ),
    "wan3": _rule(
        "promptImage! promptText! audio duration ratio referenceAudio referenceVideos", ratios=_WAN
    ),
    "wan3_prime": _rule(
        "promptImage! promptText! audio duration ratio referenceAudio referenceVideos", ratios=_WAN
    ),
    "h3_max": _rule(
        "promptImage! promptText! duration promptExpansionMode resolution seed",
        resolutions="480p 768p",
    ),
}

VIDEO_TO_VIDEO: Final[Mapping[str, Rule]] = {
    "aleph2": _rule(
        "videoUri! contentModeration keyframes outputFormat promptText proresProfile ratio seed"
        " targetAspectRatio"
    ),
    "klingO3_4k": _rule("promptText! promptVideo! providerSettings references"),
    "klingO3_pro": _rule("promptText! promptVideo! providerSettings references"),
    "klingO3_standard": _rule("promptText! promptVideo! providerSettings references"),
    "kling_4": _rule("promptText! videoUri! ratio references", ratios="auto_720p auto_1080p"),
    "hailuo3": _rule(
        f"promptText! promptVideo! duration ratio resolution {_REFERENCES}",
        ratios=_HAILUO,
        resolutions=_HAILUO_SIZES,
    ),
    "seedance2": _rule(
        f"promptVideo! audio duration promptText ratio seed {_REFERENCES}",
        auto=True,
        ratios=_SEED_HD + _SEED_FULL_HD + _SEED_4K,
    ),
    "seedance2_fast": _rule(
        f"promptVideo! audio duration promptText ratio seed {_REFERENCES}",
        auto=True,
        ratios=_SEED_HD,
    ),
    "seedance2_mini": _rule(
        f"promptVideo! audio duration promptText ratio seed {_REFERENCES}",
        auto=True,
        ratios=_SEED_HD,
    ),
    "seedance2_5": _rule(
        f"promptVideo! audio draft duration mode outputFormat promptText ratio seed {_REFERENCES}",
        auto=True,
        ratios=_SEED_2_5,
    ),
    "gemini_omni_flash": _rule("promptText! videoUri! references"),
    "gemini_omni_flash_1.1": _rule(
        "promptText! videoUri! duration mode ratio references",
        seconds=range(3, 11),
        auto=True,
        ratios=_OMNI,
    ),
}

#: Credits per second by maximum short side in pixels; with audio if the model has it. Source:
#: litellm 1.106.2, citing docs.dev.runwayml.com/guides/pricing.
CREDITS_PER_SECOND: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "gen4_turbo": ((9999, 5),),
    "gen4.5": ((9999, 12),),
    "aleph2": ((9999, 28),),
    "veo3.1": ((9999, 40),),
    "veo3.1_fast": ((9999, 15),),
    "seedance2": ((720, 36), (1080, 40), (9999, 150)),
    "seedance2_fast": ((9999, 29),),
    "seedance2_mini": ((9999, 16),),
    "seedance2_5": ((480, 20), (720, 30), (9999, 68)),
    "hailuo3": ((768, 10), (9999, 15)),
    "gemini_omni_flash": ((9999, 10),),
}

#: Credits per second of models with unknown price; invented.
UNKNOWN_CREDITS: Final = ((9999, 10),)

#: Credits per second with `"audio": false`, if cheaper.
SILENT_CREDITS: Final[Mapping[str, int]] = {"veo3.1": 20, "veo3.1_fast": 10}

#: Minimum credits per job.
MINIMUM_CREDITS: Final[Mapping[str, int]] = {"aleph2": 56}
