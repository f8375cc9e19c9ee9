"""Sealed letters: senders encrypt to a public key, and only those with LONGTAKE_SECRET_KEYS read.

HPKE (RFC 9180) in its base mode, with X25519, HKDF-SHA256 and AES-128-GCM; the key pairs are
derived from the secrets, so that they rotate with them. What is sealed is bound to its task, id and
tenant: whoever copies it into a message of their own can't have it opened.
"""

import binascii
import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from models.vault import Vault

#: What a public key and what is sealed begin with.
KEY_PREFIX: Final = "ltseal_"
VERSION: Final = "v1"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


class NotOpened(Exception):
    """What was sealed can't be opened; the message says why, and quotes nothing of it."""


def public_key(vault: Vault) -> str:
    """The key that senders seal with: of the newest secret."""
    raw = _pairs(vault)[0][1]
    return KEY_PREFIX + urlsafe_b64encode(raw).decode().rstrip("=")


def open_sealed(vault: Vault, text: str, *, task: str, id_: str, tenant: str) -> Any:
    """The content of what the client sealed for this message, which is JSON.

    Raises:
        NotOpened: it was sealed with another key or for another message, or is damaged.
    """
    version, _, rest = text.partition(".")
    name, _, body = rest.partition(".")
    if version != VERSION:
        raise NotOpened(f"it must begin with {VERSION}.")
    key = next((key for key, raw in _pairs(vault) if _name(raw) == name), None)
    if key is None:
        raise NotOpened("it was sealed with a key that LONGTAKE_SECRET_KEYS does not have")
    info = f"longtake/letter/v1\n{task}\n{id_}\n{tenant}".encode()
    try:
        content = _SUITE.decrypt(urlsafe_b64decode(body), key, info=info)
        return json.loads(content)
    except (binascii.Error, InvalidTag, ValueError, RecursionError):
        raise NotOpened("it is damaged, or was sealed for another message") from None


def _pairs(vault: Vault) -> list[tuple[X25519PrivateKey, bytes]]:
    """Private and public keys, newest first."""
    keys = [X25519PrivateKey.from_private_bytes(seed) for seed in vault.letter_seeds]
    return [(key, key.public_key().public_bytes_raw()) for key in keys]


def _name(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:8]
