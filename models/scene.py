"""The generation parameters, each declared once: name, type, limits and description.

The request, the plan, a provider's Ask, the CLI's options, the job's view and OpenAPI follow from
these fields; `carries` of a catalogue route says who supports one.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)
from typing_extensions import TypeAliasType

from models.links import HTTP_URL, http_url
from models.text import Text, storable

#: Maximum reference pictures of a request.
MOST_REFERENCES: Final = 16
#: Maximum size of `metadata` as JSON, in bytes.
MAX_METADATA: Final = 16 * 2**10
#: Maximum length of a picture as a data URI, in characters.
MAX_DATA_URI: Final = 20 * 2**20


def _fitting(value: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_METADATA:
        msg = f"must be at most {MAX_METADATA // 2**10} kB as JSON, and has {size:,} bytes"
        raise ValueError(msg)
    return value


#: What callers keep with a job or a batch: JSON that PostgreSQL can store, of a limited size.
Metadata = Annotated[dict[str, Any], AfterValidator(storable), AfterValidator(_fitting)]


class JobReference(BaseModel):
    """The last frame of an earlier job's video."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    job_id: Text = Field(min_length=1, max_length=64)


class StoredPicture(BaseModel):
    """A data URI of the request, kept in the table `picture`; only a stored scene has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    picture: str


#: The forms of a picture, for whatever is none of them.
PICTURE: Final = 'must be an http(s) URL, a base64 data:image/… URI or {"job_id": …}'


def _link(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(PICTURE)  # noqa: TRY004 - pydantic reports ValueErrors
    storable(value)
    if value.startswith("data:image/") and ";base64," in value[:64]:
        if len(value) > MAX_DATA_URI:
            size = f"{MAX_DATA_URI // 2**20} MB"
            msg = f"must have at most {size} as a data URI, and has {len(value):,} characters"
            raise ValueError(msg)
        return value  # a request's is looked into by `VideoRequest.from_json`
    try:
        return http_url(value)
    except ValueError as error:
        raise ValueError(PICTURE if str(error) == HTTP_URL else str(error)) from None


#: Tags of the forms of a picture and of an element of `reference_images`: they appear in the
#: places of pydantic's errors.
LINK, EARLIER, BARE, TYPED = TAGS = ("a link", "an earlier job", "a picture", "a typed picture")


def _form(value: object) -> str:
    """An object is an earlier job; whatever is no picture at all fails as a link."""
    return EARLIER if isinstance(value, dict | JobReference) else LINK


#: An http(s) URL, a data URI, or an earlier job's last frame.
Picture = TypeAliasType(
    "Picture",
    Annotated[
        Annotated[str, BeforeValidator(_link), Tag(LINK)] | Annotated[JobReference, Tag(EARLIER)],
        Discriminator(_form),
    ],
)
#: A picture of a stored scene.
Kept: TypeAlias = str | JobReference | StoredPicture
P = TypeVar("P", bound=Kept)
Q = TypeVar("Q", bound=Kept)

#: What a reference picture is for: to keep a person's or thing's appearance, to match a style, or
#: to include what it shows.
ReferenceType = Literal["subject", "style", "asset"]
DEFAULT_TYPE: Final = "asset"


class Reference(BaseModel, Generic[P]):
    """A reference picture and what it is for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: P = Field(description="A URL, a data URI or an earlier job's last frame")
    type: ReferenceType = Field(
        default=DEFAULT_TYPE,
        description="Keep the subject's appearance, match the style, or include what it shows",
    )


def _element(value: object) -> str:
    """An object that has an image or a type is a typed picture."""
    is_typed = isinstance(value, Reference) or (
        isinstance(value, dict) and "job_id" not in value and bool({"image", "type"} & value.keys())
    )
    return TYPED if is_typed else BARE


def _typed(value: Any) -> Any:
    """A bare picture with the default type."""
    if isinstance(value, Reference):
        return value
    return Reference[Picture].model_construct(image=value, type=DEFAULT_TYPE)


if TYPE_CHECKING:
    Given = Reference[P]
else:
    #: An element of `reference_images`: a picture with a type, or one without.
    Given = Annotated[
        Annotated[P, Tag(BARE)] | Annotated[Reference[P], Tag(TYPED)],
        Discriminator(_element),
        AfterValidator(_typed),
    ]


if TYPE_CHECKING:
    StoredReference = Reference[Any]
else:
    StoredReference = Reference[Picture]


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
    reference_images: tuple[Given[P], ...] = Field(
        default=(), max_length=MOST_REFERENCES, description="Pictures of what the video shows"
    )

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "StoredScene":
        """A stored scene: ignores fields of a newer version, has defaults for missing ones.

        Limits are not checked again: they may have changed since the request was accepted.
        """
        known = {name: values[name] for name in Scene.model_fields if name in values}
        known |= {name: _stored(known[name]) for name in ("image", "last_image") if name in known}
        references = known.get("reference_images") or ()
        known["reference_images"] = tuple(map(_stored_reference, references))
        return StoredScene.model_construct(**known | {"prompt": values["prompt"]})

    def pictures(self) -> Iterator[tuple[str, P]]:
        """The pictures by parameter; `reference_images[N]` counts from 0."""
        if self.image is not None:
            yield "image", self.image
        if self.last_image is not None:
            yield "last_image", self.last_image
        for index, reference in enumerate(self.reference_images):
            yield f"reference_images[{index}]", reference.image

    @property
    def given_pictures(self) -> frozenset[str]:
        """The parameters that have a picture."""
        return frozenset(name.partition("[")[0] for name, _ in self.pictures())

    def with_pictures(self, other: Callable[[P], Q]) -> "Scene[Q]":
        """The scene with each picture replaced."""
        pictures = {
            "image": None if self.image is None else other(self.image),
            "last_image": None if self.last_image is None else other(self.last_image),
            "reference_images": tuple(
                StoredReference.model_construct(image=other(one.image), type=one.type)
                for one in self.reference_images
            ),
        }
        return Scene.model_construct(**dict(self) | pictures)

    def varied(self, by: int) -> Self:
        """The scene with its seed offset by `by`, so that it makes another video."""
        seed = None if self.seed is None else (self.seed + by) % 2**32
        return self.model_copy(update={"seed": seed})


if TYPE_CHECKING:
    StoredScene = Scene[Any]
else:
    #: The scene of a plan, each of whose pictures is a `Kept`.
    StoredScene = Scene[Picture]


def with_pictures(scene: Mapping[str, Any], pictures: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON of a scene in which the pictures of these parameters are replaced."""
    if not pictures:
        return scene
    frames = {name: pictures[name] for name in ("image", "last_image") if name in pictures}
    references = [
        each | {"image": pictures.get(f"reference_images[{index}]", each["image"])}
        for index, each in enumerate(scene.get("reference_images") or ())
    ]
    return {**scene, **frames, "reference_images": references}


def _stored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return StoredPicture(**value) if "picture" in value else JobReference(**value)


def _stored_reference(value: Any) -> Any:
    """Before pictures had types, an element was the picture alone."""
    if isinstance(value, Reference):
        return value
    typed = value if isinstance(value, dict) and "image" in value else {"image": value}
    return StoredReference.model_construct(
        image=_stored(typed["image"]), type=typed.get("type", DEFAULT_TYPE)
    )


#: Parameters that only some models support, and those that are pictures.
OPTIONAL: Final = tuple(name for name in Scene.model_fields if name != "prompt")
PICTURES: Final = tuple(name for name in OPTIONAL if name not in Parameters.model_fields)
#: The others, which a catalogue route lists in `carries`.
KNOBS: Final = tuple(name for name in OPTIONAL if name not in PICTURES)
