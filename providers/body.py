"""JSON bodies: requests without unset fields, and error responses parsed leniently."""

import json
from collections.abc import Mapping
from typing import Any

from transport.base import Response

#: Bytes of an error response that are parsed.
_ERROR_BYTES = 2**16


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def error_json(response: Response) -> object:
    """The JSON of an error response; None if it is not JSON, such as a proxy's HTML page."""
    return _parsed(response.content[:_ERROR_BYTES])


def error_object(response: Response) -> Mapping[str, Any]:
    """The JSON object of an error response; empty if it is not one."""
    return _as_object(error_json(response))


def parsed_object(content: bytes) -> Mapping[str, Any]:
    """The JSON object in `content`; empty if it is not one."""
    return _as_object(_parsed(content))


def object_in(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object; empty otherwise."""
    return _as_object(fields.get(name))


def text_in(fields: Mapping[str, Any], name: str) -> str | None:
    """A field that is text; None otherwise."""
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _parsed(content: bytes) -> object:
    try:
        value: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value


def _as_object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
