"""SQL from row types: the columns that a statement names are the fields of the type that it reads.

A column that only a newer version knows is therefore never read, and one that is added to a row
type is selected and inserted without another list.
"""

from dataclasses import fields
from typing import Any

from psycopg.types.json import Jsonb

#: A JSON object, as PostgreSQL returns it.
Json = dict[str, Any]


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


def values(row: Any) -> Json:
    """A row's values by column, ready to be sent: JSON objects as jsonb."""
    return {
        name: Jsonb(value) if isinstance(value, dict) else value
        for name, value in as_dict(row).items()
    }
