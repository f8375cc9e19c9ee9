"""Secrets at rest: encryption with rotating keys, and derived keys for other uses."""

import hashlib
import hmac
import json
import os
import time
from base64 import urlsafe_b64encode
from functools import cached_property
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import SecretStr

#: Bytes of a long value that are worked on at a time: other threads get their turn in between. A
#: multiple of three, so that base64 needs no padding between pieces.
_PIECE: Final = 3 * 2**16


class VaultError(Exception):
    """No key in LONGTAKE_SECRET_KEYS opens a sealed value."""


class Vault:
    """Seals with the first key, opens with any.

    To rotate, every process gets the new key as its last one before any has it as its first.
    """

    def __init__(self, keys: tuple[SecretStr, ...]) -> None:
        if not keys:
            msg = "LONGTAKE_SECRET_KEYS: needs at least one secret of 32 or more characters"
            raise ValueError(msg)
        self._keys = tuple(key.get_secret_value().encode() for key in keys)

    def seal(self, value: bytes) -> bytes:
        if len(value) > _PIECE:
            return _sealed_by_pieces(_derive(self._keys[0], b"longtake/at-rest"), value)
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

    def digest(self, *parts: bytes) -> str:
        """A keyed hash in hex, by the newest key: it tells nothing to those without the key."""
        made = hmac.new(_derive(self._keys[0], b"longtake/digests"), digestmod=hashlib.sha256)
        for part in parts:
            made.update(len(part).to_bytes(8))
            made.update(part)
        return made.hexdigest()

    @cached_property
    def link_keys(self) -> tuple[bytes, ...]:
        """Keys for signed links, newest first."""
        return tuple(_derive(key, b"longtake/links") for key in self._keys)

    @cached_property
    def letter_seeds(self) -> tuple[bytes, ...]:
        """Private keys of sealed letters (`models.sealing`), newest first."""
        return tuple(_derive(key, b"longtake/letters") for key in self._keys)

    @cached_property
    def _fernet(self) -> MultiFernet:
        derived = (_derive(key, b"longtake/at-rest") for key in self._keys)
        return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in derived])


def _sealed_by_pieces(key: bytes, value: bytes) -> bytes:
    """What `Fernet.encrypt` makes; that holds the interpreter's lock for as long as it takes.

    The format: github.com/fernet/spec, version 0x80.
    """
    iv = os.urandom(16)
    signing, encryptor = key[:16], Cipher(AES(key[16:]), CBC(iv)).encryptor()
    signed = hmac.new(signing, digestmod=hashlib.sha256)
    padder, token, rest = PKCS7(AES.block_size).padder(), bytearray(), bytearray()

    def write(piece: bytes) -> None:
        signed.update(piece)
        rest.extend(piece)
        whole = len(rest) - len(rest) % 3
        token.extend(urlsafe_b64encode(bytes(rest[:whole])))
        del rest[:whole]

    write(b"\x80" + int(time.time()).to_bytes(8) + iv)
    view = memoryview(value)
    for begin in range(0, len(view), _PIECE):
        write(encryptor.update(padder.update(view[begin : begin + _PIECE])))
    write(encryptor.update(padder.finalize()) + encryptor.finalize())
    token.extend(urlsafe_b64encode(bytes(rest) + signed.digest()))
    return bytes(token)


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)
