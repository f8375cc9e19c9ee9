"""The rule of a webhook's secret: long enough that nobody guesses it, short enough to be a key.

Standard Webhooks 1.0.0 ("signature scheme") asks for 24 to 64 random bytes in base64; we take 16,
which nobody guesses either, and a secret of another kind as its bytes.
"""

import binascii
from base64 import b64decode
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from models.text import storable

#: Prefix of a secret that is base64 of the key's bytes.
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, not a secret
#: Bytes of a key in base64, and of any other secret.
ENCODED: Final = range(16, 65)
RAW: Final = range(8, 513)

ALLOWED: Final = (
    f"must be {RAW.start} to {RAW.stop - 1} bytes, or {SECRET_PREFIX} and the base64 of "
    f"{ENCODED.start} to {ENCODED.stop - 1} bytes"
)


def webhook_secret(value: str) -> str:
    """The secret; raises ValueError, which never has it, for one that is too short or too long."""
    storable(value)
    encoded = value.removeprefix(SECRET_PREFIX)
    is_raw = encoded == value
    if not (len(value.encode()) in RAW if is_raw else _length(encoded) in ENCODED):
        raise ValueError(ALLOWED)
    return value


def _length(encoded: str) -> int:
    """How many bytes the base64 is of; 0 if it is none."""
    try:
        return len(b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return 0


#: What signs a webhook; no length in characters says as much.
WebhookSecret = Annotated[
    str,
    AfterValidator(webhook_secret),
    Field(json_schema_extra={"maxLength": RAW.stop - 1}),
]
WEBHOOK_SECRET: Final = ALLOWED.removeprefix("must be ")
