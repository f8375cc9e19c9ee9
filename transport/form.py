"""Multipart bodies, encoded once for both clients (RFC 7578)."""

import secrets
from collections.abc import Iterable

from transport.base import Part

#: Browsers' escapes for characters that would end a quoted name (WHATWG HTML, 4.10.21.8).
_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def encode(parts: Iterable[Part]) -> tuple[str, bytes]:
    """The content type, with a random boundary, and the body."""
    boundary = secrets.token_hex(16)
    body = b"".join(_head(part, boundary) + part.content + b"\r\n" for part in parts)
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def _head(part: Part, boundary: str) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name.translate(_QUOTED)}"'
    if part.filename is not None:
        head += f'; filename="{part.filename.translate(_QUOTED)}"'
    if part.content_type is not None:
        head += f"\r\nContent-Type: {part.content_type}"
    return f"{head}\r\n\r\n".encode()
