"""When a webhook is tried again: the schedule as data, and one pure decision over it."""

_MINUTE = 60.0
_HOUR = 60 * _MINUTE

#: Seconds between one failed try and the next: ten tries in all, over about 75 hours.
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
#: Share by which a delay is shortened or lengthened, so that a recovered host is not stampeded.
JITTER = 0.1
#: The longest that a receiver's Retry-After may hold its delivery back, in seconds.
LONGEST_RETRY_AFTER = 24 * _HOUR


def next_try(tries: int, *, retry_after: float | None, jitter: float) -> float | None:
    """Seconds to wait after the failed try number `tries` (1 is the first); None after the last.

    `jitter` is the caller's random number in -1..1. The receiver's Retry-After moves the next try
    later, never earlier, and adds no tries.
    """
    if tries < 1:
        msg = f"tries counts the tries that were made, so it begins at 1 (it is {tries})"
        raise ValueError(msg)
    if tries > len(DELAYS):
        return None
    delay = DELAYS[tries - 1] * (1 + JITTER * jitter)
    if retry_after is None:
        return delay
    return max(delay, min(retry_after, LONGEST_RETRY_AFTER))
