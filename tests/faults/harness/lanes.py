"""One model for each provider, so that a test chooses the provider by choosing the model."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from cli.demo.shots import picture
from providers.catalog import SHIPPED
from tests.faults.harness.client import Json

_Route = dict[str, Any]


@cache
def routes() -> Mapping[str, _Route]:
    """Each provider's first route, from text alone where it has such a one, as the catalogue's."""
    found: dict[str, _Route] = {}
    for model in tomllib.loads(SHIPPED.read_text())["models"].values():
        for route in model["routes"].values():
            before = found.setdefault(route["provider"], route)
            if _needs_picture(before) and not _needs_picture(route):
                found[route["provider"]] = route
    return found


def asked_of(provider: str) -> Json:
    """The fields of a request that only `provider` can carry out."""
    model: Json = {"model": _model(provider)}
    return model | ({"image": picture(640, 360)} if _needs_picture(routes()[provider]) else {})


def catalog() -> str:
    """A catalogue to lay over the shipped one, with a model for each provider."""
    return "\n".join(line for name, route in routes().items() for line in _lines(name, route))


def _needs_picture(route: _Route) -> bool:
    return route.get("image") == "required"


def _model(provider: str) -> str:
    return f"through-{provider.replace('_', '-')}"


def _lines(provider: str, route: _Route) -> Iterator[str]:
    model = f'models."{_model(provider)}"'
    yield f"[{model}]"
    yield f'title = "Through {provider}"'
    yield f"[{model}.routes.{provider}]"
    for key, value in route.items():
        yield f"{json.dumps(key)} = {_value(value)}"


def _value(value: object) -> str:
    """TOML for what TOML gave; JSON writes strings, numbers and booleans the same way."""
    match value:
        case dict():
            inner = (f"{json.dumps(key)} = {_value(each)}" for key, each in value.items())
            return f"{{ {', '.join(inner)} }}"
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case bool() | int() | float() | str():
            return json.dumps(value)
        case _:
            return str(value)  # a date
