"""The models on offer and the routes that make them: `catalog.toml`, typed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from catalog.alike import Names
from catalog.routes import Route, Table
from models.failure import RequestRefused
from providers.registry import LONGEST_NAME, NAME, PROVIDERS, account_named
from settings import Settings, SettingsError

SHIPPED = Path(__file__).with_name("catalog.toml")


class CatalogError(SettingsError):
    """A catalogue file is unusable; the message names the model and the field."""


def _account_name(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        msg = f"an account's name must be 1 to {LONGEST_NAME} of a-z, 0-9, - and _, or plain"
        raise ValueError(msg)
    return name


#: Largest weight of an account.
MOST_WEIGHT = 1_000_000
#: An account's share of its provider's new jobs, relative to the others'; 0: no new jobs.
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT, allow_inf_nan=False, strict=True)]


class Model(Table):
    """A public model name and its routes, preferred first."""

    name: str
    title: str
    #: Alternative names, including the public names of older systems.
    aliases: tuple[str, ...] = ()
    #: The model that makes a request without a picture where this one needs a picture; only in the
    #: APIs of other systems, which adapt.
    without_image: str | None = None
    routes: dict[str, Route] = Field(min_length=1)


class _CatalogFile(Table):
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
            if alike := self._all_names.like(name[:64]):
                msg += f"; did you mean {' or '.join(alike)}?"
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

    @cached_property
    def _all_names(self) -> Names:
        chosen = {
            f"{route.provider}/{model.name}"
            for model in self.models()
            for route in model.routes.values()
        }
        return Names([*self._by_any_name, *chosen])


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
