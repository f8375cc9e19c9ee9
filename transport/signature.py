"""The Standard Webhooks signature: signs our webhooks, verifies vendors' callbacks.

The signed content is `id.timestamp.body` (standard-webhooks specification 1.0.0, "signature
scheme"). Callers decode their own secrets; here a key is bytes.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

#: Maximum difference between `webhook-timestamp` and the receiver's clock, in seconds.
TOLERANCE: Final = 300.0

_VERSION: Final = "v1"
_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def key_in(encoded: str) -> bytes:
    """Decode a key from strict base64, without the prefix; raises ValueError."""
    return base64.b64decode(encoded, validate=True)


def token(key: bytes, *, message_id: str, timestamp: int | str, body: bytes) -> str:
    """One signature, `v1,<base64 of HMAC-SHA256>`."""
    content = b".".join((message_id.encode(errors="replace"), str(timestamp).encode(), body))
    digest = hmac.digest(key, content, hashlib.sha256)
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def is_signed(
    headers: Mapping[str, str],
    body: bytes,
    *,
    key: bytes,
    now: float,
    tolerance: float = TOLERANCE,
) -> bool:
    """Whether one of the signatures matches the key and the timestamp is fresh.

    Malformed headers return False and never raise; names are case-insensitive, and several
    signatures may be present while a secret is rotated. `now` is Unix time.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = sent.get("webhook-id", ""), sent.get("webhook-timestamp", "")
    if not (message_id and _UNIX_SECONDS.fullmatch(timestamp)):
        return False
    if abs(now - int(timestamp)) > tolerance:
        return False
    expected = token(key, message_id=message_id, timestamp=timestamp, body=body).encode()
    tokens = sent.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, each.encode(errors="replace")) for each in tokens)
