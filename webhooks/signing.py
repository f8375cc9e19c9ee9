"""The signature on every webhook: Standard Webhooks v1, made here and checked here.

The signed content is `id.timestamp.body`, with the id constant over retries and the timestamp of
this very try (standard-webhooks specification 1.0.0, "signature scheme").
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

#: What marks a secret as base64 of the key's bytes.
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret
#: How far a receiver lets `webhook-timestamp` be from its own clock, in seconds.
TOLERANCE = 300.0

_VERSION = "v1"
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


class BadSecret(ValueError):
    """The secret can't be made into a key; the message never repeats it."""


def secret_bytes(secret: str) -> bytes:
    """The key's bytes: `whsec_…` is strict base64, any other text is its own UTF-8.

    Raises:
        BadSecret: the secret is empty, or what follows `whsec_` is not base64.
    """
    encoded = secret.removeprefix(SECRET_PREFIX)
    if encoded == secret:
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            msg = (
                "webhook_secret begins with whsec_, so the rest must be base64 "
                "(letters, digits, + and /, padded with =)"
            )
            raise BadSecret(msg) from None
    if not key:
        msg = "webhook_secret is empty"
        raise BadSecret(msg)
    return key


def sign(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature token, `v1,<base64 of HMAC-SHA256>`.

    Raises:
        BadSecret: see `secret_bytes`.
        ValueError: the id is not ASCII, or holds the full stop that ends it in the signed content.
    """
    if not _is_an_id(message_id):
        msg = "a webhook id must be ASCII without a full stop"
        raise ValueError(msg)
    content = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digest = hmac.digest(secret_bytes(secret), content, hashlib.sha256)
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def headers(secret: str | None, *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one try; without a secret there is no signature. Raises as `sign`."""
    unsigned = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if secret is None:
        return unsigned
    signature = sign(secret, message_id=message_id, timestamp=timestamp, body=body)
    return unsigned | {"webhook-signature": signature}


def verify(
    secret: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance: float = TOLERANCE,
) -> bool:
    """Whether one of the signatures is ours and the timestamp is fresh.

    Whatever a stranger may put into the headers is False, never an error; header names are matched
    in any case. `now` is Unix time.

    Raises:
        BadSecret: the receiver's own secret is unusable.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    message_id = sent.get("webhook-id", "")
    timestamp = sent.get("webhook-timestamp", "")
    if not _is_an_id(message_id) or not _UNIX_SECONDS.fullmatch(timestamp):
        return False
    if abs(now - int(timestamp)) > tolerance:
        return False
    expected = sign(secret, message_id=message_id, timestamp=int(timestamp), body=body).encode()
    tokens = sent.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, token.encode(errors="replace")) for token in tokens)


def _is_an_id(message_id: str) -> bool:
    return bool(message_id) and message_id.isascii() and "." not in message_id
