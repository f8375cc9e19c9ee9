"""The columns of a table: text in cells becomes the values of a request's fields."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from cli.api import Json
from cli.errors import Refused
from models.request import VideoRequest

_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Columns:
    """A table's header: the path of each column's field."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, header: Sequence[str], *, line: int) -> "Columns":
        """Raises Refused for a name that is unknown, empty or there twice."""
        names = tuple(name.strip() for name in header)
        for at, name in enumerate(names):
            if not _is_known(name):
                known = ", ".join(sorted(known_columns()))
                raise Refused(f"line {line}: {name!r} is not a known column; known: {known}")
            if name in names[:at] or name.partition(".")[0] in {*names} - {name}:
                raise Refused(f"line {line}: the column {name!r} is there twice")
        return cls(names)

    def request(self, row: Sequence[str], *, line: int) -> Json:
        """The request of a row, whose empty cells are unset; raises Refused for a longer row."""
        if len(row) > len(self.names):
            raise Refused(
                f"line {line} has {len(row)} cells, and the header has {len(self.names)} columns"
            )
        return nested(zip(self.names, row, strict=False))


def nested(given: Iterable[tuple[str, str]]) -> Json:
    """Fields of a request by name; `metadata.shop` is a member of an object."""
    fields: Json = {}
    for name, text in given:
        if not text.strip():
            continue
        root, dot, member = name.partition(".")
        if not dot:
            fields[name] = value_of(name, text)
        elif isinstance(fields.setdefault(root, {}), dict):
            fields[root][member] = text
    return fields


def value_of(name: str, text: str) -> Any:
    """A cell's value by its field's type; another form stays text, which the API names."""
    types, stripped = _types()[name], text.strip()
    if "boolean" in types:
        return _BOOLEANS.get(stripped.lower(), text)
    try:
        if "integer" in types:
            return int(stripped)
        if "number" in types:
            number = float(stripped)
            return number if math.isfinite(number) else text
        if types & {"object", "array"} and stripped[:1] in {"{", "["}:
            return json.loads(stripped)
    except (ValueError, RecursionError):
        pass
    return text


def known_columns() -> frozenset[str]:
    return frozenset(_types())


def _is_known(name: str) -> bool:
    root, dot, member = name.partition(".")
    types = _types().get(root, frozenset())
    return root in _types() and (not dot or (bool(member) and "object" in types))


@cache
def _types() -> Mapping[str, frozenset[str]]:
    """JSON types by field; a picture is text or an object."""
    fields = VideoRequest.model_json_schema()["properties"]
    named = {name: frozenset(_types_of(field)) for name, field in fields.items()}
    return {"custom_id": frozenset({"string"}), **named}


def _types_of(field: Json) -> Iterator[str]:
    if "$ref" in field:
        yield "object"
    if "type" in field:
        yield field["type"]
    for each in field.get("anyOf", ()):
        yield from _types_of(each)
