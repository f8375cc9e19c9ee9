"""Whether a callback is the vendor's own: the Standard Webhooks signature, as a receiver checks it.

The signed content is `id.timestamp.body` (standard-webhooks specification 1.0.0); our own webhooks
are signed in `webhooks.signing`, which providers may not know.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

#: How far the timestamp may be from our clock, in seconds (kling.ai/document-api: 5 minutes).
TOLERANCE: Final = 300.0

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what marks a secret, not one
_VERSION: Final = "v1,"
_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class BadCallbackSecret(ValueError):
    """The operator's secret is not base64; the message never repeats it."""


def is_signed(headers: Mapping[str, str], body: bytes, *, secret: str, now: float) -> bool:
    """Whether one of the signatures is made with the secret and the timestamp is fresh.

    Whatever a stranger may put into the headers is False, never an error; names are matched in any
    case, and several signatures stand side by side while a secret is rotated. `now` is Unix time.

    Raises:
        BadCallbackSecret: what follows `whsec_` is not base64.
    """
    key = _key(secret)
    sent = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = sent.get("webhook-id", ""), sent.get("webhook-timestamp", "")
    if not (message_id and _UNIX_SECONDS.fullmatch(timestamp)):
        return False
    if abs(now - int(timestamp)) > TOLERANCE:
        return False
    content = b".".join((message_id.encode(errors="replace"), timestamp.encode(), body))
    digest = hmac.digest(key, content, hashlib.sha256)
    expected = _VERSION.encode() + base64.b64encode(digest)
    tokens = sent.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, token.encode(errors="replace")) for token in tokens)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not key:
        msg = "the callback secret must be whsec_ and base64, as the vendor's console shows it"
        raise BadCallbackSecret(msg)
    return key
