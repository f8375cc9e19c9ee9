"""Identifiers: sortable by creation time, unguessable, readable in logs."""

import hashlib
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{prefix}_{_base32(number, 26)}"


def new_marker() -> str:
    """An attempt's marker, used as external id and callback token (130 random bits)."""
    return _base32(secrets.randbits(130), 26)


def marker_after(marker: str) -> str:
    """The marker of the attempt that replaces the one with `marker`.

    It follows from `marker`, so that whoever knows the replaced attempt alone (an older copy of the
    database) can look the replacement up; nobody else can tell it.
    """
    digest = hashlib.sha256(b"replaces " + marker.encode()).digest()
    return _base32(int.from_bytes(digest) >> (256 - 130), 26)


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * length - 5, -1, -5))
