"""Secrets at rest: encryption with rotating keys, and derived keys for other uses."""

import json
from base64 import urlsafe_b64encode
from functools import cached_property
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr


class VaultError(Exception):
    """No key in LONGTAKE_SECRET_KEYS opens a sealed value."""


class Vault:
    """Seals with the newest key, opens with any; to rotate, put a new key first."""

    def __init__(self, keys: tuple[SecretStr, ...]) -> None:
        if not keys:
            msg = "LONGTAKE_SECRET_KEYS: needs at least one secret of 32 or more characters"
            raise ValueError(msg)
        self._keys = tuple(key.get_secret_value().encode() for key in keys)

    def seal(self, value: bytes) -> bytes:
        return self._fernet.encrypt(value)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt a sealed value; raises VaultError if its key is missing."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            msg = "no key in LONGTAKE_SECRET_KEYS opens a stored secret; was an old key removed?"
            raise VaultError(msg) from error

    def reseal(self, sealed: bytes) -> bytes:
        """Re-encrypt with the newest key; raises VaultError as `open`."""
        try:
            return self._fernet.rotate(sealed)
        except InvalidToken as error:
            raise VaultError(str(error)) from error

    def seal_json(self, value: Any) -> bytes:
        return self.seal(json.dumps(value, separators=(",", ":")).encode())

    def open_json(self, sealed: bytes) -> Any:
        return json.loads(self.open(sealed))

    @cached_property
    def link_keys(self) -> tuple[bytes, ...]:
        """Keys for signed links, newest first."""
        return tuple(_derive(key, b"longtake/links") for key in self._keys)

    @cached_property
    def _fernet(self) -> MultiFernet:
        derived = (_derive(key, b"longtake/at-rest") for key in self._keys)
        return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in derived])


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)
