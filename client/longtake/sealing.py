"""Seals what a message holds, so that the broker keeps what only Longtake's workers can read.

HPKE (RFC 9180) in its base mode, with X25519, HKDF-SHA256 and AES-128-GCM. The key is public:
whoever has it can seal, and nobody but the workers can open.
"""

import binascii
import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

#: What a key and what is sealed begin with.
KEY_PREFIX: Final = "ltseal_"
VERSION: Final = "v1"
_KEY_BYTES: Final = 32


def sealed(content: Mapping[str, Any], *, key: str, task: str, id_: str, tenant: str) -> str:
    """The content as JSON, sealed for one message: under another id or tenant it can't be opened.

    Raises:
        ValueError: `key` is not a sealing key, as `GET /v1/intake/key` answers it.
        TypeError: the content has a value that JSON can't hold.
        RuntimeError: `cryptography` is missing or older than 47: install longtake[seal].
    """
    raw = _key_bytes(key)
    try:
        from cryptography.hazmat.primitives import hpke  # noqa: PLC0415 - an extra, for sealing
        from cryptography.hazmat.primitives.asymmetric import x25519  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeError("sealing needs cryptography 47: pip install 'longtake[seal]'") from error
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM)
    made = suite.encrypt(
        json.dumps(content, separators=(",", ":")).encode(),
        x25519.X25519PublicKey.from_public_bytes(raw),
        info=f"longtake/letter/v1\n{task}\n{id_}\n{tenant}".encode(),
    )
    name = hashlib.sha256(raw).hexdigest()[:8]
    return f"{VERSION}.{name}.{urlsafe_b64encode(made).decode()}"


def _key_bytes(key: str) -> bytes:
    text = key.removeprefix(KEY_PREFIX)
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if not key.startswith(KEY_PREFIX) or len(raw) != _KEY_BYTES:
        msg = (
            f"sealing_key must be {KEY_PREFIX} and 43 characters, as `longtake intake key` prints "
            f"it (it has {len(key)} characters)"
        )
        raise ValueError(msg)
    return raw
