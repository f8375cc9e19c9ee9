"""Identifiers: sortable by creation time, unguessable, readable in logs."""

import hashlib
import os
import re
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
#: The two characters of each 10 bits: half the steps for a batch's many ids.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_MARKER = re.compile(f"[{_ALPHABET}]{{26}}", re.ASCII)


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
    return f"{prefix}_{_base32(number)}"


def new_marker() -> str:
    """An attempt's marker, used as external id and callback token (130 random bits)."""
    return _base32(int.from_bytes(os.urandom(17)) >> 6)


def looks_like_a_marker(text: str) -> bool:
    """Whether it has a marker's form."""
    return _MARKER.fullmatch(text) is not None


def marker_after(marker: str) -> str:
    """The marker of the attempt that replaces the one with `marker`.

    It follows from `marker`, so that whoever knows the replaced attempt alone (an older copy of the
    database) can look the replacement up; nobody else can tell it.
    """
    digest = hashlib.sha256(b"replaces " + marker.encode()).digest()
    return _base32(int.from_bytes(digest) >> (256 - 130))


def created_at(column: str) -> str:
    """SQL: when the thing was created whose id of ours is in a column."""
    digits = [
        f"(strpos('{_ALPHABET}', substr(split_part({column}, '_', 2), {place}, 1)) - 1)::bigint"
        f" << {5 * (10 - place)}"
        for place in range(1, 11)  # 2 zeros and the 48 bits of the milliseconds
    ]
    return f"to_timestamp(({' | '.join(f'({digit})' for digit in digits)}) / 1000.0)"


def _base32(number: int) -> str:
    """The 26 characters of 130 bits."""
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])
