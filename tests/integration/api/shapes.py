"""What /openapi.json says of the dialects' operations, and whether an answer is exactly so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from api.dialects import DIALECTS

#: What stands for a parameter in a path.
IN_PATHS = {"vendor": "runway"}


@dataclass(frozen=True)
class Operation:
    """One operation of a dialect."""

    method: str
    path: str
    told: Mapping[str, Any]
    components: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def url(self) -> str:
        return self.path.format_map(_Filled(IN_PATHS))

    def check(self, status: int, value: Any) -> None:
        """Raise ValidationError unless the answer has the documented fields and no other.

        An error whose status is not documented, as 405, has the shape of those that are.
        """
        documented = self.told["responses"]
        response = documented[str(status) if str(status) in documented else "401"]
        schema = response["content"]["application/json"]["schema"]
        strict = {"components": _strict(self.components), **_strict(schema)}
        Draft202012Validator(strict).validate(value)


def operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Every operation below a dialect's prefix."""
    prefixes = [f"{prefix}/" for dialect in DIALECTS for prefix in dialect.prefixes]
    for path, methods in document["paths"].items():
        if f"{path}/".startswith(tuple(prefixes)):
            for method, told in methods.items():
                yield Operation(method.upper(), path, told, document["components"])


class _Filled(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "nothing"


def _strict(schema: Any) -> Any:
    """The schema without room for fields that it does not name."""
    match schema:
        case {"properties": dict(), **rest} if "additionalProperties" not in rest:
            closed = {"additionalProperties": False}
            return {name: _strict(value) for name, value in schema.items()} | closed
        case dict():
            return {name: _strict(value) for name, value in schema.items()}
        case list():
            return [_strict(each) for each in schema]
        case _:
            return schema
