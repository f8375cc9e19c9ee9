"""Verifies fal's callbacks: Ed25519 signatures, checked against fal's published keys.

Source: fal.ai/docs/documentation/model-apis/inference/webhooks, "Webhook verification". The keys
are at https://rest.fal.ai/.well-known/jwks.json and can rotate daily.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from providers.callbacks import BadCallbackSecret

#: Maximum difference between the timestamp and our clock, in seconds.
TOLERANCE: Final = 300.0

_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def is_signed(headers: Mapping[str, str], body: bytes, *, jwks: str, now: float) -> bool:
    """Whether a key made the signature and the timestamp is fresh; `now` is Unix time.

    Malformed headers return False and never raise.

    Raises:
        BadCallbackSecret: `jwks` is not a JSON Web Key Set with an Ed25519 key.
    """
    keys = keys_of(jwks)
    sent = {name.lower(): value for name, value in headers.items()}
    names = ("request-id", "user-id", "timestamp", "signature")
    values = [sent.get(f"x-fal-webhook-{name}", "") for name in names]
    request_id, user_id, timestamp, signature = values
    if not (all(values) and _UNIX_SECONDS.fullmatch(timestamp)):
        return False
    if abs(now - int(timestamp)) > TOLERANCE:
        return False
    signed = "\n".join((request_id, user_id, timestamp, hashlib.sha256(body).hexdigest()))
    return any(_verifies(key, signature, signed.encode(errors="replace")) for key in keys)


def keys_of(jwks: str) -> tuple[Ed25519PublicKey, ...]:
    """The Ed25519 keys of a JSON Web Key Set (RFC 8037); other kinds are ignored.

    Raises:
        BadCallbackSecret: there is no such key, or one cannot be parsed.
    """
    try:
        entries = json.loads(jwks)["keys"]
        found = tuple(
            Ed25519PublicKey.from_public_bytes(_unpadded(entry["x"]))
            for entry in entries
            if (entry["kty"], entry["crv"]) == ("OKP", "Ed25519")
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        found = ()
    if not found:
        msg = "the callback keys must be a JWKS document with an Ed25519 key, as fal publishes"
        raise BadCallbackSecret(msg)
    return found


def _verifies(key: Ed25519PublicKey, signature: str, signed: bytes) -> bool:
    try:
        key.verify(bytes.fromhex(signature), signed)
    except (ValueError, InvalidSignature):
        return False
    return True


def _unpadded(text: str) -> bytes:
    """Decode base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
