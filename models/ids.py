"""Identifiers: sortable by time of birth, unguessable, and readable in a log."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{prefix}_{_base32(number, 26)}"


def new_marker() -> str:
    """An unguessable marker of an attempt: external id and callback token (130 random bits)."""
    return _base32(secrets.randbits(130), 26)


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * length - 5, -1, -5))
