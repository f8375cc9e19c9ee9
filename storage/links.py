"""Signed, short-lived links to our stored videos, checked without a database."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from urllib.parse import parse_qs

# Domain separation: a signature is useless for any other purpose of the same keys.
_PURPOSE = b"longtake link v1"
_UNIX_SECONDS = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_MOST_FIELDS = 16


def sign_link(keys: Sequence[bytes], path: str, *, expires: int) -> str:
    """The query string that grants `path` until `expires` (Unix seconds), signed by the newest key.

    Only `path` is signed, so it must contain everything that the link grants.

    Raises:
        ValueError: `keys` is empty.
    """
    if not keys:
        msg = "a link can't be signed without a key"
        raise ValueError(msg)
    return f"expires={expires}&signature={_signature(keys[0], path, expires)}"


def check_link(keys: Sequence[bytes], path: str, query: str, *, now: float) -> bool:
    """Whether `query` grants `path` now, by a signature of any of `keys`.

    Other fields of the query are ignored, since they are not signed. If a signed field is missing,
    malformed or repeated, the result is False.
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
