"""Signs our webhooks with Standard Webhooks v1, and verifies them.

The id is constant over retries, the timestamp is of the current try (standard-webhooks
specification 1.0.0, "signature scheme"); `transport.signature` does the signing.
"""

from collections.abc import Mapping

from models.webhook_secret import SECRET_PREFIX
from transport import signature
from transport.signature import TOLERANCE


class BadSecret(ValueError):
    """The secret cannot be decoded into a key; the message never contains it."""


def secret_bytes(secret: str) -> bytes:
    """The key's bytes: `whsec_…` is strict base64; any other secret is its UTF-8 bytes.

    Raises:
        BadSecret: the secret is empty, or what follows `whsec_` is not base64.
    """
    encoded = secret.removeprefix(SECRET_PREFIX)
    if encoded == secret:
        key = secret.encode()
    else:
        try:
            key = signature.key_in(encoded)
        except ValueError:
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
        ValueError: the id is not ASCII or contains a full stop, the signed content's separator.
    """
    if not (message_id and message_id.isascii() and "." not in message_id):
        msg = "a webhook id must be ASCII without a full stop"
        raise ValueError(msg)
    key = secret_bytes(secret)
    return signature.token(key, message_id=message_id, timestamp=timestamp, body=body)


def headers(secret: str | None, *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one try; unsigned without a secret. Raises as `sign`."""
    unsigned = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if secret is None:
        return unsigned
    signed = sign(secret, message_id=message_id, timestamp=timestamp, body=body)
    return unsigned | {"webhook-signature": signed}


def verify(
    secret: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance: float = TOLERANCE,
) -> bool:
    """Whether one of the signatures is valid and the timestamp fresh; see `signature.is_signed`.

    Raises:
        BadSecret: the receiver's own secret is unusable.
    """
    key = secret_bytes(secret)
    return signature.is_signed(headers, body, key=key, now=now, tolerance=tolerance)
