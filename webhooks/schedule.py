"""The retry schedule for webhooks, and the function that applies it."""

_MINUTE = 60.0
_HOUR = 60 * _MINUTE

#: Seconds between a failed try and the next: ten tries in all, over about 75 hours.
DELAYS = (
    5.0,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
#: Fraction by which a delay is randomised, so that a recovered host is not overloaded.
JITTER = 0.1
#: Seconds after which the last try was made, unless a receiver asked for more time.
LASTS = sum(DELAYS) * (1 + JITTER)
#: Maximum honoured Retry-After, in seconds.
LONGEST_RETRY_AFTER = 24 * _HOUR


def next_try(tries: int, *, retry_after: float | None, jitter: float) -> float | None:
    """Seconds to wait after failed try number `tries` (from 1); None after the last.

    `jitter` is a random number in -1..1. Retry-After can delay the next try, never advance it, and
    adds no tries.
    """
    if tries < 1:
        msg = f"tries begins at 1 (it is {tries})"
        raise ValueError(msg)
    if tries > len(DELAYS):
        return None
    delay = DELAYS[tries - 1] * (1 + JITTER * jitter)
    if retry_after is None:
        return delay
    return max(delay, min(retry_after, LONGEST_RETRY_AFTER))
