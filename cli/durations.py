"""Durations as people type them: seconds, or a number with s, m, h or d."""

import re
from typing import Final

from cli.errors import Refused

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_seconds(text: str, option: str, *, most: int) -> int:
    """The seconds that an option names, up to `most`, which are whole days; raises Refused."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    lasts = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= lasts <= most:
        raise Refused(
            f"{option} must be seconds, or a number with s, m, h or d, from 1 s to "
            f"{most // _UNITS['d']} d (it is {text[:64]!r})"
        )
    return lasts
