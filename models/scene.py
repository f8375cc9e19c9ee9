"""The generation parameters, each declared once: name, type, limits and description.

The request, the plan, a provider's Ask, the CLI's options, the job's view and OpenAPI follow from
these fields; `carries` of a catalogue route says who supports one.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

#: Maximum nesting of objects and lists in `metadata`.
MOST_NESTED = 32


def storable(value: Any) -> Any:
    """The value; raises ValueError for one that PostgreSQL or a JSON reader does not take."""
    _check_storable(value, depth=0)
    return value


def _check_storable(value: object, *, depth: int) -> None:
    match value:
        case str() if "\x00" in value:
            raise ValueError("must not contain the NUL character")
        case str() if not _is_unicode(value):
            raise ValueError("must not contain an unpaired surrogate")
        case float() if not math.isfinite(value):
            raise ValueError("must not contain NaN or an infinity")
        case dict() | list() if depth == MOST_NESTED:
            raise ValueError(f"must not be nested deeper than {MOST_NESTED} levels")
        case dict():
            for each in (*value.keys(), *value.values()):
                _check_storable(each, depth=depth + 1)
        case list():
            for each in value:
                _check_storable(each, depth=depth + 1)
        case _:
            pass  # numbers, booleans and null


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


#: A string that PostgreSQL can store.
Text = Annotated[str, AfterValidator(storable)]


class JobReference(BaseModel):
    """The last frame of an earlier job's video."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    job_id: str = Field(min_length=1, max_length=64)


#: An http(s) URL, a data URI, or an earlier job's last frame.
Picture = str | JobReference
P = TypeVar("P", bound=Picture)
Q = TypeVar("Q", bound=Picture)


class Parameters(BaseModel):
    """The prompt and the parameters that a job's view repeats as they were requested."""

    prompt: Text = Field(min_length=1, max_length=20_000, description="What the video shows")
    seed: int | None = Field(
        default=None, ge=0, le=2**32 - 1, description="The same seed gives a similar video"
    )
    negative_prompt: Text | None = Field(
        default=None, max_length=20_000, description="What to leave out"
    )
    cfg_scale: float | None = Field(
        default=None, ge=0, le=100, description="How closely to follow the prompt"
    )
    motion_bucket_id: int | None = Field(default=None, ge=1, le=255, description="Amount of motion")
    person_generation: Literal["allow_all", "allow_adult", "dont_allow"] | None = Field(
        default=None, description="Which people the video may show"
    )
    watermark: bool | None = Field(default=None, description="With the vendor's watermark or not")
    audio: bool | None = Field(default=None, description="With sound or without")


class Scene(Parameters, Generic[P]):
    """The parameters with the pictures: references in a request and its plan, URIs in an Ask."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: P | None = Field(default=None, description="First frame")
    last_image: P | None = Field(default=None, description="Last frame")
    reference_images: tuple[P, ...] = Field(
        default=(), max_length=16, description="Pictures of what the video shows"
    )

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Scene[Picture]":
        """A stored scene: ignores fields of a newer version, has defaults for missing ones.

        Limits are not checked again: they may have changed since the request was accepted.
        """
        known = {name: values[name] for name in Scene.model_fields if name in values}
        known |= {name: _stored(known[name]) for name in PICTURES if name in known}
        return Scene[Picture].model_construct(**known | {"prompt": values["prompt"]})

    def pictures(self) -> Iterator[tuple[str, P]]:
        """The pictures by parameter; `reference_images.N` counts from 0."""
        if self.image is not None:
            yield "image", self.image
        if self.last_image is not None:
            yield "last_image", self.last_image
        for index, picture in enumerate(self.reference_images):
            yield f"reference_images.{index}", picture

    def with_pictures(self, other: Callable[[P], Q]) -> "Scene[Q]":
        """The scene with each picture replaced."""
        pictures = {
            "image": None if self.image is None else other(self.image),
            "last_image": None if self.last_image is None else other(self.last_image),
            "reference_images": tuple(other(picture) for picture in self.reference_images),
        }
        return Scene.model_construct(**dict(self) | pictures)

    def varied(self, by: int) -> Self:
        """The scene with its seed offset by `by`, so that it makes another video."""
        seed = None if self.seed is None else (self.seed + by) % 2**32
        return self.model_copy(update={"seed": seed})


def _stored(value: Any) -> Any:
    match value:
        case dict():
            return JobReference(**value)
        case list():
            return tuple(_stored(each) for each in value)
        case _:
            return value


#: Parameters that only some models support, and those that are pictures.
OPTIONAL: Final = tuple(name for name in Scene.model_fields if name != "prompt")
PICTURES: Final = tuple(name for name in OPTIONAL if name not in Parameters.model_fields)
#: The others, which a catalogue route lists in `carries`.
KNOBS: Final = tuple(name for name in OPTIONAL if name not in PICTURES)
