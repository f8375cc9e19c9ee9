"""A route: one way to make a model, with its limits, prices and combinations, as data."""

from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from models.scene import DEFAULT_TYPE, KNOBS, ReferenceType
from providers.registry import PROVIDERS


def _pixels(value: object) -> object:
    if isinstance(value, str):
        width, _, height = value.partition("x")
        if width.isdecimal() and height.isdecimal():
            return int(width), int(height)
        msg = 'must be "WIDTHxHEIGHT" in pixels'
        raise ValueError(msg)
    return value


def _knob(name: str) -> str:
    if name not in KNOBS:
        msg = f"must be one of {', '.join(map(repr, KNOBS))}"
        raise ValueError(msg)
    return name


#: The name of a generation parameter other than the prompt and the pictures.
Knob = Annotated[str, AfterValidator(_knob)]
#: Width and height in pixels, written "1280x720".
Size = Annotated[tuple[int, int], BeforeValidator(_pixels)]
#: Resolution class ("720p") to aspect ratio ("16:9") to size.
Frames = dict[str, dict[str, Size]]


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptLimit(Table):
    """The vendor's prompt limit, in the unit it counts."""

    most: int = Field(ge=1)
    unit: Literal["characters", "utf16"]

    def length(self, prompt: str) -> int:
        return len(prompt.encode("utf-16-le")) // 2 if self.unit == "utf16" else len(prompt)


class Price(Table):
    """The vendor's price, with its source and date."""

    #: US dollars per second, by resolution.
    usd_per_second: dict[str, Annotated[Decimal, Field(ge=0, decimal_places=6)]]
    #: The same with sound, if priced separately.
    usd_per_second_with_audio: (
        dict[str, Annotated[Decimal, Field(ge=0, decimal_places=6)]] | None
    ) = None
    date: date
    source: str

    def per_second(self, resolution: str, *, audio: bool | None) -> Decimal:
        prices = self.usd_per_second_with_audio if audio else None
        return (prices or self.usd_per_second)[resolution]


class Typical(Table):
    """Typical generation time in seconds, used until measurements exist."""

    p10: int = Field(ge=1)
    p50: int = Field(ge=1)
    p90: int = Field(ge=1)
    source: str

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.p10 <= self.p50 <= self.p90:
            msg = "p10, p50 and p90 must not decrease"
            raise ValueError(msg)
        return self


#: A parameter that is a picture.
PictureName = Literal["image", "last_image", "reference_images"]


class Combination(Table):
    """What requests of one kind have fewer durations of: with these pictures, at these sizes."""

    #: The pictures that such a request has, all of them, and those of which it has none.
    given: tuple[PictureName, ...] = ()
    without: tuple[PictureName, ...] = ()
    #: Empty: at every resolution.
    resolutions: tuple[str, ...] = ()
    #: In seconds. Empty: the vendor refuses such a request.
    durations: tuple[int, ...]

    def fits(self, pictures: Collection[str], resolution: str) -> bool:
        return (
            set(self.given) <= set(pictures)
            and not set(self.without) & set(pictures)
            and (not self.resolutions or resolution in self.resolutions)
        )

    def __str__(self) -> str:
        """As an error tells it: "with reference_images at 1080p"."""
        parts = [f"with {' and '.join(self.given)}"] if self.given else []
        parts += [f"without {' and '.join(self.without)}"] if self.without else []
        parts += [f"at {' or '.join(self.resolutions)}"] if self.resolutions else []
        return " ".join(parts)


class Route(Table):
    """One way to make a model: provider, upstream model name, limits and price."""

    name: str
    provider: str
    upstream: str
    #: Used only if a request names the provider ("perf/runway-gen3"): the gateway may substitute
    #: another model or price.
    by_name_only: bool = False
    #: Whether a first frame is unsupported, optional or required.
    image: Literal["none", "optional", "required"] = "none"
    last_image: Literal["none", "with_image", "optional"] = "none"
    #: Maximum number of reference images.
    reference_images: int = Field(default=0, ge=0)
    #: The types of reference image that the provider tells apart for this model. A provider
    #: without types takes them for what the default means.
    reference_types: tuple[ReferenceType, ...] = (DEFAULT_TYPE,)
    #: In seconds; a request that fits one of `combinations` has only those that are in both.
    durations: tuple[int, ...] = Field(min_length=1)
    duration: int
    combinations: tuple[Combination, ...] = ()
    frames: Frames
    #: Frame sizes with a first frame, if different.
    image_frames: Frames | None = None
    resolution: str
    aspect_ratio: str
    #: Frames per second delivered by default, and the alternatives on offer.
    fps: int = Field(ge=1)
    fps_choices: tuple[int, ...] = ()
    #: Generation parameters that the provider takes for this model, besides pictures.
    carries: tuple[Knob, ...] = ()
    #: Default for `audio`; only if `carries` includes it.
    audio: bool | None = None
    prompt_limit: PromptLimit | None = None
    #: The limit with a first frame, if different.
    image_prompt_limit: PromptLimit | None = None
    #: Maximum length of a data URI in bytes; 0: images by URL only.
    data_uri_bytes: int | None = Field(default=None, ge=0)
    price: Price
    typical: Typical
    #: Fact to source.
    sources: dict[str, str] = Field(default_factory=dict)

    @property
    def takes(self) -> tuple[str, ...]:
        """The optional parameters this route supports, by their names in a request."""
        pictures = {
            "image": self.image != "none",
            "last_image": self.last_image != "none",
            "reference_images": self.reference_images > 0,
        }
        return (*self.carries, *(name for name, taken in pictures.items() if taken))

    def frames_for(self, *, with_image: bool) -> Frames:
        return self.image_frames if with_image and self.image_frames else self.frames

    def prompt_limit_for(self, *, with_image: bool) -> PromptLimit | None:
        other = self.image_prompt_limit if with_image else None
        return other or self.prompt_limit

    def narrowing(self, pictures: Collection[str], resolution: str) -> tuple[Combination, ...]:
        """The combinations that such a request fits."""
        return tuple(each for each in self.combinations if each.fits(pictures, resolution))

    def durations_with(self, pictures: Collection[str], resolution: str) -> tuple[int, ...]:
        """The durations of such a request, in seconds; none if the vendor refuses it."""
        narrower = self.narrowing(pictures, resolution)
        return tuple(
            seconds
            for seconds in self.durations
            if all(seconds in each.durations for each in narrower)
        )

    def offers(self, pictures: Collection[str]) -> bool:
        """Whether the vendor makes any video with these pictures."""
        frames = self.frames_for(with_image="image" in pictures)
        return any(self.durations_with(pictures, resolution) for resolution in frames)

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, provider: str) -> str:
        if provider not in PROVIDERS:
            msg = f"must be one of {', '.join(sorted(PROVIDERS))}"
            raise ValueError(msg)
        return provider

    @model_validator(mode="after")
    def _defaults_are_offered(self) -> Self:
        if self.duration not in self.durations:
            msg = "duration must be one of durations"
            raise ValueError(msg)
        for frames in (self.frames, self.image_frames or self.frames):
            if self.aspect_ratio not in frames.get(self.resolution, {}):
                msg = "resolution and aspect_ratio must be in frames and image_frames"
                raise ValueError(msg)
            if missing := sorted(set(frames) - set(self.price.usd_per_second)):
                msg = f"price.usd_per_second has no {', '.join(missing)}"
                raise ValueError(msg)
        with_audio = self.price.usd_per_second_with_audio
        if with_audio is not None and set(with_audio) != set(self.price.usd_per_second):
            msg = "price.usd_per_second_with_audio must have the same resolutions"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _combinations_are_of_what_is_offered(self) -> Self:
        offered = {*self.frames, *(self.image_frames or ())}
        for each in self.combinations:
            if unknown := sorted(
                {*each.given, *each.without} - set(self.takes)
                | set(each.resolutions) - offered
                | {str(seconds) for seconds in set(each.durations) - set(self.durations)}
            ):
                msg = f"combinations name {', '.join(unknown)}, which the route does not offer"
                raise ValueError(msg)
        return self
