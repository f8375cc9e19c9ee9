"""What a callback names, and whether it is the vendor's own, by the secret of the vendor's console.

The signature is the Standard Webhooks one; our own webhooks carry it too, by secrets of callers.
"""

import json
from collections.abc import Mapping

from providers import answers
from transport import signature


class BadCallbackSecret(ValueError):
    """The operator's secret is not base64; the message never repeats it."""


def identifier(body: bytes, field: str) -> str | None:
    """The id in a callback's JSON; None for whatever else a stranger sends."""
    try:
        return answers.identifier(json.loads(body), field)
    except (ValueError, RecursionError):
        return None


def is_signed(headers: Mapping[str, str], body: bytes, *, secret: str, now: float) -> bool:
    """As `transport.signature.is_signed`: False for whatever a stranger sends.

    Kling lets the timestamp be as far from our clock as the standard does: kling.ai/document-api.

    Raises:
        BadCallbackSecret: what follows `whsec_` is not base64.
    """
    return signature.is_signed(headers, body, key=_key(secret), now=now)


def _key(secret: str) -> bytes:
    try:
        key = signature.key_in(secret.removeprefix(signature.SECRET_PREFIX))
    except ValueError:
        key = b""
    if not key:
        msg = "the callback secret must be whsec_ and base64, as the vendor's console shows it"
        raise BadCallbackSecret(msg)
    return key
