"""Signed links to our own videos: short-lived bearer capabilities, checked without a database."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from urllib.parse import parse_qs

# Keeps these signatures apart from any other use of the same keys.
_PURPOSE = b"longtake link v1"
_UNIX_SECONDS = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_MOST_FIELDS = 16


def sign_link(keys: Sequence[bytes], path: str, *, expires: int) -> str:
    """The query that opens `path` until `expires` (Unix seconds), signed with the newest key.

    `path` is all that the link grants: what else of the address matters must be in it.

    Raises:
        ValueError: there is no key.
    """
    if not keys:
        msg = "a link can't be signed without a key"
        raise ValueError(msg)
    return f"expires={expires}&signature={_signature(keys[0], path, expires)}"


def check_link(keys: Sequence[bytes], path: str, query: str, *, now: float) -> bool:
    """Whether `query` opens `path` now; every key that is still listed is accepted.

    Other fields of the query are ignored, since they are not signed; a signed one that is missing,
    malformed or doubled is False, never an error.
    """
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return False
    match fields.get("expires"), fields.get("signature"):
        case [expires], [signature] if _UNIX_SECONDS.fullmatch(expires) and now < int(expires):
            given = signature.encode(errors="replace")
            return any(
                hmac.compare_digest(_signature(key, path, int(expires)).encode(), given)
                for key in keys
            )
        case _:
            return False


def _signature(key: bytes, path: str, expires: int) -> str:
    content = b"\n".join((_PURPOSE, path.encode(errors="surrogatepass"), str(expires).encode()))
    digest = hmac.digest(key, content, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
