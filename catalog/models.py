"""The models on offer and the routes that make them: `catalog.toml`, typed."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from models.failure import RequestRefused
from models.scene import DEFAULT_TYPE, KNOBS, ReferenceType
from providers.registry import LONGEST_NAME, NAME, PROVIDERS, account_named
from settings import Settings, SettingsError

SHIPPED = Path(__file__).with_name("catalog.toml")


class CatalogError(SettingsError):
    """A catalogue file is unusable; the message names the model and the field."""


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


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _account_name(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        msg = f"an account's name must be 1 to {LONGEST_NAME} of a-z, 0-9, - and _, or plain"
        raise ValueError(msg)
    return name


#: Largest weight of an account.
MOST_WEIGHT = 1_000_000
#: An account's share of its provider's new jobs, relative to the others'; 0: no new jobs.
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT, allow_inf_nan=False, strict=True)]


class PromptLimit(_Table):
    """The vendor's prompt limit, in the unit it counts."""

    most: int = Field(ge=1)
    unit: Literal["characters", "utf16"]

    def length(self, prompt: str) -> int:
        return len(prompt.encode("utf-16-le")) // 2 if self.unit == "utf16" else len(prompt)


class Price(_Table):
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


class Typical(_Table):
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


class Combination(_Table):
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


class Route(_Table):
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


class Model(_Table):
    """A public model name and its routes, preferred first."""

    name: str
    title: str
    #: Alternative names, including the public names of older systems.
    aliases: tuple[str, ...] = ()
    #: The model that makes a request without a picture where this one needs a picture; only in the
    #: APIs of other systems, which adapt.
    without_image: str | None = None
    routes: dict[str, Route] = Field(min_length=1)


class _CatalogFile(_Table):
    models: dict[str, Model] = Field(min_length=1)
    #: By provider and by the account's name, as in `RUNWAYML_API_SECRET__NAME` in lower case.
    accounts: dict[str, dict[Annotated[str, AfterValidator(_account_name)], Weight]] = Field(
        default_factory=dict
    )

    @field_validator("accounts")
    @classmethod
    def _known_providers(cls, accounts: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for provider in accounts:
            if provider not in PROVIDERS:
                msg = f"{provider[:64]}: must be one of {', '.join(sorted(PROVIDERS))}"
                raise ValueError(msg)
        return accounts

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights by the accounts' full names."""
        return {
            account_named(provider, name): weight
            for provider, named in self.accounts.items()
            for name, weight in named.items()
        }

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        owners: dict[str, str] = {name: name for name in self.models}
        for model in self.models.values():
            for alias in model.aliases:
                if (owner := owners.setdefault(alias, model.name)) != model.name:
                    msg = f"the name {alias} belongs to both {owner} and {model.name}"
                    raise ValueError(msg)
        for model in self.models.values():
            if model.without_image is not None and owners.get(model.without_image) is None:
                msg = f"without_image of {model.name} must name a model ({model.without_image!r})"
                raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Catalog:
    """Every model, by name and by alias."""

    by_name: Mapping[str, Model]
    #: Weights that differ from 1, by account.
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """The shipped catalogue, with the operator's own (`LONGTAKE_CATALOG`) merged over it.

        Raises:
            CatalogError: a file is unreadable or a value invalid; names model and field.
        """
        tables = _read(SHIPPED)
        if settings.catalog is not None:
            tables = _merged(tables, _read(settings.catalog))
        try:
            file = _CatalogFile.model_validate(_named(tables))
            return cls(file.models, file.weights)
        except ValidationError as error:
            raise CatalogError(_describe(error)) from None

    def find(self, name: str) -> Model:
        """The model for a name, an alias, or "provider/name" for that provider's routes only.

        Raises:
            RequestRefused: unknown name; the message lists the known names.
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

    def weight(self, account: str) -> float:
        """The account's share of new jobs, relative to its provider's other accounts."""
        return self.weights.get(account, 1.0)

    def models(self) -> tuple[Model, ...]:
        return tuple(self.by_name.values())

    def by_provider(self, model: Model) -> tuple[Model, ...]:
        """A model with several providers, once per provider as "provider/name"."""
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
    """The routes of one provider, or all that need not be named explicitly."""
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


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables recursively; replace every other value."""
    merged = dict(below)
    for key, value in above.items():
        match merged.get(key), value:
            case dict() as old, dict() as new:
                merged[key] = _merged(old, new)
            case _:
                merged[key] = value
    return merged


def _named(tables: dict[str, Any]) -> dict[str, Any]:
    """Add each model's and route's key to its table as `name`."""

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


def _describe(error: ValidationError) -> str:
    lines = []
    for issue in error.errors(include_url=False):
        place = [str(part) for part in issue["loc"]]
        message = issue["msg"].removeprefix("Value error, ").removeprefix("Input ")
        match place:
            case ["models", model, *field]:
                lines.append(f"model {model}: {'.'.join(field) or 'entry'}: {message}")
            case ["accounts", _, _]:
                lines.append(
                    f"{'.'.join(place)}: must be a number from 0 to {MOST_WEIGHT} "
                    f"(it is {str(issue['input'])[:64]})"
                )
            case _:
                lines.append(f"{'.'.join(place) or 'catalogue'}: {message}")
    return "LONGTAKE_CATALOG: " + "; ".join(lines)
