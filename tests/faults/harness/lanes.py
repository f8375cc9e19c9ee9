"""One model for each provider, so that a test chooses the provider by choosing the model."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from providers.catalog import SHIPPED
from providers.registry import PROVIDERS


def model_of(provider: str) -> str:
    """The model that only `provider` makes."""
    return f"through-{provider.replace('_', '-')}"


def own_model_of_each_provider() -> str:
    """A catalogue to lay over the shipped one: each provider's first route from text, alone."""
    shipped = tomllib.loads(SHIPPED.read_text())["models"]
    routes: dict[str, dict[str, Any]] = {}
    for model in shipped.values():
        for route in model["routes"].values():
            if route.get("image") != "required":
                routes.setdefault(route["provider"], route)
    missing = PROVIDERS.keys() - routes.keys()
    assert not missing, f"no route from text alone for {', '.join(missing)}"
    return "\n".join(line for name, route in routes.items() for line in _lines(name, route))


def _lines(provider: str, route: dict[str, Any]) -> Iterator[str]:
    model = f'models."{model_of(provider)}"'
    yield f"[{model}]"
    yield f'title = "Through {provider}"'
    yield f"[{model}.routes.{provider}]"
    for key, value in route.items():
        yield f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    return json.dumps(key)


def _value(value: object) -> str:
    """TOML for what TOML gave; JSON writes strings, numbers and booleans the same way."""
    match value:
        case dict():
            return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case bool() | int() | float() | str():
            return json.dumps(value)
        case _:
            return str(value)  # a date
