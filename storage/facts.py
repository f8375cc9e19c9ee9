"""What is read from a video's bytes: its properties and stills."""

from dataclasses import dataclass, field


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stills:
    """Pictures that show what is in a video, as JPEGs."""

    #: The middle frame, at most 1280 pixels wide and high.
    poster: bytes = field(repr=False)
    #: Up to eight frames from start to end, in rows of four.
    sheet: bytes = field(repr=False)
