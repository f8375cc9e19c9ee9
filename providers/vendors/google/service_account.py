"""Google service accounts: reading a key file, and signing tokens with it.

Google's APIs accept a JWT signed with the account's own key instead of an access token, so no token
exchange is needed: https://google.aip.dev/auth/4111, as in google-auth 2.62.2.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from settings import SettingsError

#: Token lifetime (google-auth) and renewal interval, in seconds. Tokens are cached because signing
#: takes about 1 ms and there can be thousands of requests per second.
LIVES: Final = 3600
RENEWED: Final = 600

_FIELDS: Final = ("client_email", "private_key", "private_key_id")


def read_key(path: str, *, variable: str) -> str:
    """The fields of a key file that signing needs, as JSON.

    Raises:
        SettingsError: the file is unreadable or not a service account's; never quoted.
    """
    try:
        file = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{variable}: {path} can't be read: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"{variable}: {path} is not JSON") from None
    kind = file.get("type") if isinstance(file, dict) else None
    if kind != "service_account" or not all(isinstance(file.get(name), str) for name in _FIELDS):
        raise SettingsError(
            f"{variable}: {path} must be the key file of a service account (its type is {kind!r})"
        )
    key = json.dumps({name: file[name] for name in _FIELDS})
    if _private_key(file["private_key"]) is None:
        raise SettingsError(f"{variable}: the private_key in {path} is not an RSA key")
    return key


def token(key: str, *, audience: str, now: float) -> str:
    """A token for the API named by `audience`; reused for some minutes."""
    return _token(key, audience, int(now - now % RENEWED))


@lru_cache(maxsize=16)
def _token(key: str, audience: str, issued_at: int) -> str:
    account = json.loads(key)
    email = account["client_email"]
    claims = {
        "iss": email,
        "sub": email,
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + LIVES,
    }
    private_key = _private_key(account["private_key"])
    if private_key is None:
        raise SettingsError("a service account's private_key is not an RSA key")
    key_id = account["private_key_id"]
    return jwt.encode(claims, private_key, algorithm="RS256", headers={"kid": key_id})


def _private_key(pem: str) -> RSAPrivateKey | None:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, RSAPrivateKey) else None
