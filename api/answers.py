"""JSON responses, encoded directly, without response models."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response


def encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # Metadata may contain integers above 64 bits, which orjson rejects.
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as a JSON response."""
    return Response(
        encode(value), status, headers=dict(headers or {}), media_type="application/json"
    )
