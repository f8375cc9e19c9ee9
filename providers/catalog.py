"""The models that can be asked for and the routes that make them: `catalog.toml`, typed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from models.failure import RequestRefused
from providers.registry import PROVIDERS
from settings import Settings, SettingsError

SHIPPED = Path(__file__).with_name("catalog.toml")

#: Parameters that some models take and others don't.
Knob = Literal[
    "seed",
    "negative_prompt",
    "cfg_scale",
    "motion_bucket_id",
    "person_generation",
    "watermark",
    "audio",
]


class CatalogError(SettingsError):
    """A catalogue file can't be used; the message names the model and the field."""


def _pixels(value: object) -> object:
    if isinstance(value, str):
        width, _, height = value.partition("x")
        if width.isdecimal() and height.isdecimal():
            return int(width), int(height)
        msg = 'must be "WIDTHxHEIGHT" in pixels'
        raise ValueError(msg)
    return value


#: Width and height in pixels, written "1280x720".
Size = Annotated[tuple[int, int], BeforeValidator(_pixels)]
#: Resolution class ("720p") to aspect ratio ("16:9") to size.
Frames = dict[str, dict[str, Size]]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptLimit(_Table):
    """The longest prompt that the vendor takes, in the unit that it counts."""

    most: int = Field(ge=1)
    unit: Literal["characters", "utf16"]

    def length(self, prompt: str) -> int:
        return len(prompt.encode("utf-16-le")) // 2 if self.unit == "utf16" else len(prompt)


class Price(_Table):
    """What the vendor charges, and when and where that was read."""

    #: US dollars a second, by resolution.
    usd_per_second: dict[str, Annotated[Decimal, Field(ge=0, decimal_places=6)]]
    #: The same with sound, where the vendor prices it apart.
    usd_per_second_with_audio: (
        dict[str, Annotated[Decimal, Field(ge=0, decimal_places=6)]] | None
    ) = None
    date: date
    source: str

    def per_second(self, resolution: str, *, audio: bool | None) -> Decimal:
        prices = self.usd_per_second_with_audio if audio else None
        return (prices or self.usd_per_second)[resolution]


class Typical(_Table):
    """How long a video takes to be made, in seconds, until that has been learned."""

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


class Route(_Table):
    """One way to make a model: the provider, its own name for the model, limits and price."""

    name: str
    provider: str
    upstream: str
    #: Taken only when a request names the provider too ("perf/runway-gen3"): a gateway that may
    #: make the model by other means, or at another price.
    by_name_only: bool = False
    #: Whether a first frame can, may or must be given.
    image: Literal["none", "optional", "required"] = "none"
    last_image: Literal["none", "with_image", "optional"] = "none"
    #: The most reference images.
    reference_images: int = Field(default=0, ge=0)
    durations: tuple[int, ...] = Field(min_length=1)
    duration: int
    frames: Frames
    #: Other frames where a first frame is given.
    image_frames: Frames | None = None
    resolution: str
    aspect_ratio: str
    #: Frames a second that are delivered, and those that can be chosen.
    fps: int = Field(ge=1)
    fps_choices: tuple[int, ...] = ()
    carries: tuple[Knob, ...] = ()
    #: Whether sound is made when the request does not say; only where `carries` has audio.
    audio: bool | None = None
    prompt_limit: PromptLimit | None = None
    #: The longest data URI, in bytes; 0 where pictures are taken by address only.
    data_uri_bytes: int | None = Field(default=None, ge=0)
    price: Price
    typical: Typical
    #: Fact to source.
    sources: dict[str, str] = Field(default_factory=dict)

    @property
    def takes(self) -> tuple[str, ...]:
        """Every optional parameter that this route can carry, by its name in a request."""
        pictures = {
            "image": self.image != "none",
            "last_image": self.last_image != "none",
            "reference_images": self.reference_images > 0,
        }
        return (*self.carries, *(name for name, taken in pictures.items() if taken))

    def frames_for(self, *, with_image: bool) -> Frames:
        return self.image_frames if with_image and self.image_frames else self.frames

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
        louder = self.price.usd_per_second_with_audio
        if louder is not None and set(louder) != set(self.price.usd_per_second):
            msg = "price.usd_per_second_with_audio must have the same resolutions"
            raise ValueError(msg)
        return self


class Model(_Table):
    """A public name and the routes that make it, the preferred first."""

    name: str
    title: str
    #: Other names, among them the public names of older systems.
    aliases: tuple[str, ...] = ()
    routes: dict[str, Route] = Field(min_length=1)


class _Book(_Table):
    models: dict[str, Model] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        owners: dict[str, str] = {name: name for name in self.models}
        for model in self.models.values():
            for alias in model.aliases:
                if (owner := owners.setdefault(alias, model.name)) != model.name:
                    msg = f"the name {alias} belongs to both {owner} and {model.name}"
                    raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Catalog:
    """Every model, by name and by alias."""

    by_name: Mapping[str, Model]

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """The shipped catalogue, under the operator's own if `LONGTAKE_CATALOG` names one.

        Raises:
            CatalogError: a file can't be read or a value is wrong; model and field are named.
        """
        tables = _read(SHIPPED)
        if settings.catalog is not None:
            tables = _laid_over(tables, _read(settings.catalog))
        try:
            return cls(_Book.model_validate(_named(tables)).models)
        except ValidationError as error:
            raise CatalogError(_in_words(error)) from None

    def find(self, name: str) -> Model:
        """The model that a caller means by a name or alias, or by "provider/name" on that provider.

        Raises:
            RequestRefused: there is none; the message lists the names there are.
        """
        provider, slash, rest = name.partition("/")
        chosen = provider if slash and provider in PROVIDERS else None
        model = self._by_any_name.get(rest if chosen else name)
        routes = _choose(model, chosen) if model else {}
        if model is None or not routes:
            known = ", ".join(self.by_name)
            msg = f"model must be one of {known} (it is {name[:64]!r})"
            raise RequestRefused(msg, param="model")
        return model.model_copy(update={"routes": routes})

    def models(self) -> tuple[Model, ...]:
        return tuple(self.by_name.values())

    def by_provider(self, model: Model) -> tuple[Model, ...]:
        """A model that several providers make, once for each as "provider/name"."""
        providers = dict.fromkeys(route.provider for route in model.routes.values())
        if len(providers) == 1:
            return ()
        return tuple(
            model.model_copy(
                update={
                    "name": f"{provider}/{model.name}",
                    "aliases": (),
                    "routes": _choose(model, provider),
                }
            )
            for provider in providers
        )

    @cached_property
    def _by_any_name(self) -> Mapping[str, Model]:
        aliases = {alias: model for model in self.models() for alias in model.aliases}
        return aliases | dict(self.by_name)


def _choose(model: Model, provider: str | None) -> dict[str, Route]:
    """The routes of one provider, or of all that need not be named."""
    return {
        name: route
        for name, route in model.routes.items()
        if (route.provider == provider if provider else not route.by_name_only)
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"LONGTAKE_CATALOG: {path} can't be read: {error.strerror}"
        raise CatalogError(msg) from None
    except ValueError as error:
        msg = f"LONGTAKE_CATALOG: {path} is not TOML: {error}"
        raise CatalogError(msg) from None


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge, every other value is replaced."""
    merged = dict(below)
    for key, value in above.items():
        match merged.get(key), value:
            case dict() as old, dict() as new:
                merged[key] = _laid_over(old, new)
            case _:
                merged[key] = value
    return merged


def _named(tables: dict[str, Any]) -> dict[str, Any]:
    """Gives every model and route the name that it is filed under."""

    def named(entries: object) -> object:
        if not isinstance(entries, dict):
            return entries
        return {
            name: {**entry, "name": name} if isinstance(entry, dict) else entry
            for name, entry in entries.items()
        }

    models = named(tables.get("models"))
    if isinstance(models, dict):
        for model in models.values():
            if isinstance(model, dict) and "routes" in model:
                model["routes"] = named(model["routes"])
    return {**tables, "models": models}


def _in_words(error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False):
        place = [str(part) for part in fault["loc"]]
        message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
        match place:
            case ["models", model, *field]:
                lines.append(f"model {model}: {'.'.join(field) or 'entry'}: {message}")
            case _:
                lines.append(f"{'.'.join(place) or 'catalogue'}: {message}")
    return "LONGTAKE_CATALOG: " + "; ".join(lines)
