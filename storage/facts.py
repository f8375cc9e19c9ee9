"""A video's properties, as they are read from its bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A video's properties, read from its bytes."""

    content_type: str
    duration_seconds: float
    #: Pixels, as coded.
    width: int
    height: int
    fps: float
    frames: int
