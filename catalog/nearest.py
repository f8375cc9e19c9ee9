"""The nearest duration and the nearest frame that a route makes; pure functions."""

import re
from collections.abc import Iterable, Mapping
from math import log
from typing import Any, Final

from catalog.routes import Frames, Route
from models.failure import RequestRefused

_CLASS: Final = re.compile(r"(\d{1,5})([pk])", re.IGNORECASE)
_RATIO: Final = re.compile(r"(\d{1,5}(?:\.\d{1,4})?):(\d{1,5}(?:\.\d{1,4})?)")
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")


def nearest_duration(asked: float, durations: Iterable[int]) -> int:
    """The nearest duration, the longer on a tie."""
    return min(durations, key=lambda seconds: (abs(seconds - asked), -seconds))


def nearest_frame(
    given: Mapping[str, Any], route: Route, frames: Frames
) -> tuple[dict[str, Any], str]:
    """The fields that ask for the nearest frame, first by its ratio, then by its size.

    Beside them stands its resolution.

    Raises:
        RequestRefused: `size`, `aspect_ratio` or `resolution` can't be read.
    """
    each = [
        (resolution, ratio, size)
        for resolution, ratios in frames.items()
        for ratio, size in ratios.items()
    ]
    if (size := given.get("size")) is not None:
        width, height = _sides(_SIZE, "size", size)
        resolution, ratio, (across, down) = min(
            each,
            key=lambda frame: (
                frame[2] != (width, height),
                _distance(_ratio(frame[1]), width / height),
                _distance(frame[2][0] * frame[2][1], width * height),
                -frame[2][0] * frame[2][1],
            ),
        )
        return {"size": f"{across}x{down}"}, resolution
    if "resolution" not in given and "aspect_ratio" not in given:
        return {}, route.resolution if route.resolution in frames else next(iter(frames))
    side = _short_side(given.get("resolution", route.resolution))
    shape = _ratio(given.get("aspect_ratio", route.aspect_ratio))
    resolution, ratio, _ = min(
        each,
        key=lambda frame: (
            _distance(_ratio(frame[1]), shape),
            _distance(_short_side(frame[0]), side),
            -_short_side(frame[0]),
        ),
    )
    made = {"resolution": resolution, "aspect_ratio": ratio}
    own = {"resolution": route.resolution, "aspect_ratio": route.aspect_ratio}
    fields = {name: value for name, value in made.items() if name in given or value != own[name]}
    return dict(fields), resolution


def _ratio(label: str) -> float:
    across, down = _sides(_RATIO, "aspect_ratio", label)
    return across / down


def _short_side(label: str) -> int:
    """The short side in pixels of a resolution class: 720 of 720p, 2160 of 4k."""
    match = _CLASS.fullmatch(label)
    if match is None or not int(match[1]):
        msg = f"resolution must be a class as in 720p (it is {label[:64]!r})"
        raise RequestRefused(msg, param="resolution")
    return int(match[1]) * (540 if match[2] in "kK" else 1)


def _sides(pattern: re.Pattern[str], field: str, text: str) -> tuple[float, float]:
    match = pattern.fullmatch(text)
    if match is None or not float(match[1]) or not float(match[2]):
        example = "1280x720" if field == "size" else "16:9"
        msg = f"{field} must be as in {example} (it is {text[:64]!r})"
        raise RequestRefused(msg, param=field)
    return float(match[1]), float(match[2])


def _distance(one: float, other: float) -> float:
    """How far two sizes are apart, the same in both directions."""
    return round(abs(log(one / other)), 9)
