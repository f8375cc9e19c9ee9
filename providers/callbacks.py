"""Reads vendors' callbacks and verifies their Standard Webhooks signatures.

The secret comes from the vendor's console; our own webhooks use callers' secrets.
"""

import json
from collections.abc import Mapping

from models.webhook_secret import SECRET_PREFIX
from providers import answers
from transport import signature


class BadCallbackSecret(ValueError):
    """The operator's secret is not base64; the message never contains it."""


def identifier(body: bytes, field: str) -> str | None:
    """The id in a callback's JSON; None if it cannot be read."""
    try:
        return answers.identifier(json.loads(body), field)
    except (ValueError, RecursionError):
        return None


def is_signed(headers: Mapping[str, str], body: bytes, *, secret: str, now: float) -> bool:
    """As `transport.signature.is_signed`: False for malformed input.

    Kling allows the standard's timestamp tolerance: kling.ai/document-api.

    Raises:
        BadCallbackSecret: the part after `whsec_` is not base64.
    """
    return signature.is_signed(headers, body, key=_key(secret), now=now)


def _key(secret: str) -> bytes:
    try:
        key = signature.key_in(secret.removeprefix(SECRET_PREFIX))
    except ValueError:
        key = b""
    if not key:
        msg = "the callback secret must be whsec_ and base64, as the vendor's console shows it"
        raise BadCallbackSecret(msg)
    return key
