"""Arguments of hints and ticks, as anybody who can write to the broker may send them.

What PostgreSQL or Valkey would refuse is refused here: their errors quote it.
"""

from typing import TypeGuard

#: The longest `within` of a tick, in seconds.
MOST_WITHIN = 86_400


def is_lane(value: object) -> TypeGuard[str]:
    """Whether a value is plain text: UTF-8, and without NUL."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_within(value: object) -> TypeGuard[float]:
    """Whether a value is a number of seconds."""
    return isinstance(value, float | int) and 0 <= value <= MOST_WITHIN
