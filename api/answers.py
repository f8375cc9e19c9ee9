"""JSON responses, encoded directly, without response models."""

import json
import math
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from models.failure import Allowance


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


def limit_headers(allowance: Allowance | None) -> dict[str, str]:
    """The X-RateLimit headers of a limit, if there is one; `Reset` is in seconds since 1970."""
    if allowance is None:
        return {}
    return {
        "X-RateLimit-Limit": str(allowance.limit),
        "X-RateLimit-Remaining": str(allowance.remaining),
        "X-RateLimit-Reset": str(math.ceil(allowance.resets_at.timestamp())),
    }
