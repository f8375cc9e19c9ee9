"""SQL from row types: the columns that a statement names are the fields of the type that it reads.

A column that only a newer version knows is therefore never read, and one that is added to a row
type is selected and inserted without another list.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from psycopg.types.json import Jsonb

#: A JSON object, as PostgreSQL returns it.
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """Marks a column, in its row type's annotation, that views show under its own name if set."""

    #: For the documentation of the view.
    description: str


def columns(row: type, *, of: str = "") -> str:
    """The columns of a row type, separated by commas; `of` is their table's name."""
    prefix = f"{of}." if of else ""
    return ", ".join(f"{prefix}{field.name}" for field in fields(row))


def placeholders(row: type) -> str:
    """A placeholder for each column of a row type, named like it."""
    return ", ".join(f"%({field.name})s" for field in fields(row))


def as_dict(row: Any) -> Json:
    """A row's values by column, as they are."""
    return {field.name: getattr(row, field.name) for field in fields(row)}


def as_text(value: Json | None) -> str | None:
    """JSON text that is read as the same value again: keys in their order, numbers as written."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def values(row: Any) -> Json:
    """A row's values by column, ready to be sent: JSON objects as jsonb."""
    return {
        name: Jsonb(value) if isinstance(value, dict) else value
        for name, value in as_dict(row).items()
    }


@cache
def shown_columns(row: type) -> Mapping[str, tuple[Any, Shown]]:
    """The type and the mark of each column of a row type that is marked with `Shown`."""
    found = {}
    for name, hint in get_type_hints(row, include_extras=True).items():
        if get_origin(hint) is Annotated:
            type_, mark = get_args(hint)
            found[name] = (type_, mark)
    return found
