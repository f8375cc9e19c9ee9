"""docker-compose.yml as Compose reads it: anchors merged, variables filled in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
OBSERVE = ROOT / "docker-compose.observe.yml"

#: What a user has to set, with values that pass.
REQUIRED = {
    "POSTGRES_PASSWORD": "pg0pass",
    "VALKEY_PASSWORD": "vk0pass",
    "LONGTAKE_SECRET_KEYS": "k" * 32,
    "LONGTAKE_PUBLIC_URL": "https://videos.example.com",
    "FLOWER_BASIC_AUTH": "me:secret",
}

#: The forms of the specification's chapter "Interpolation" that we use.
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<how>[-?])(?P<word>[^}]*))?\})")


class MissingVariable(Exception):
    """Compose would refuse to start; the message is the file's own."""


def read(variables: Mapping[str, str], file: Path = FILE) -> dict[str, Any]:
    filled: dict[str, Any] = _filled(yaml.safe_load(file.read_text()), variables)
    return filled


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _VARIABLE.sub(lambda found: _value(found, variables), value)
        case dict():
            return {key: _filled(each, variables) for key, each in value.items()}
        case list():
            return [_filled(each, variables) for each in value]
        case _:
            return value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    if value := variables.get(found["name"]):
        return value
    if found["how"] == "-":
        return str(found["word"])
    raise MissingVariable(f"{found['name']}: {found['word']}")
