"""Response headers, parsed once for all providers."""

import math
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

#: Upper bound on any Retry-After, in seconds.
LONGEST_WAIT = 24 * 3600.0


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds the server asks us to wait (RFC 9110, section 10.2.3), or None.

    A past date or negative number is 0; an unparsable value is None. `now` is Unix time; `headers`
    has lower-case names.
    """
    text = headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is None:
        moment = _unix_time(text)
        seconds = None if moment is None else moment - (time.time() if now is None else now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unix_time(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        # HTTP dates are GMT, even without a zone or with -0000.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
