"""Requests as values that can be sent again, how often they are, and how long all may take."""

import math
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longtake.bodies import Body
from longtake.errors import APIError, ConnectionFailed, LongtakeError, RateLimited, Unavailable

#: A server that asks for more patience than this, in seconds, is not asked again.
LONGEST_PAUSE = 60.0
#: Seconds after a deadline in which the last answer may still come.
GRACE = 1.0
_FIRST_PAUSE = 0.5
_USUAL_PAUSE = 8.0
_HEADER = re.compile(r"[!-~]([ -~]*[!-~])?", re.ASCII)


class Deadline:
    """A moment after which nobody waits any more; without `seconds` it never comes."""

    def __init__(self, seconds: float | None = None) -> None:
        self._at = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def is_set(self) -> bool:
        return self._at != math.inf

    @property
    def is_over(self) -> bool:
        """Whether the last answer is late, too."""
        return time.monotonic() > self._at + GRACE

    @property
    def left(self) -> float:
        """Seconds, down to 0."""
        return max(0.0, self._at - time.monotonic())


@dataclass(frozen=True, slots=True)
class Call:
    """One request; a POST that creates something has its Idempotency-Key among the headers."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body = field(default=b"", repr=False)
    #: Seconds, where the client's own are too few.
    read_timeout: float | None = None
    deadline: Deadline = field(default_factory=Deadline)


def creating(
    path: str,
    body: bytes | Body,
    *,
    idempotency_key: str | None,
    app_id: str | None,
    read_timeout: float | None = None,
) -> Call:
    """A POST that creates, under a key of its own unless one is given.

    Raises:
        ValueError: the key or the app's id is nothing that a header can carry.
    """
    given: dict[str, object] = {"idempotency_key": idempotency_key, "app_id": app_id}
    for name, value in given.items():
        if value is not None and not (isinstance(value, str) and _HEADER.fullmatch(value)):
            raise ValueError(
                f"{name} must be text of printable ASCII without a space at either end "
                f"(it is {value!r:.80})"
            )
    headers = {"Idempotency-Key": str(uuid.uuid4()) if idempotency_key is None else idempotency_key}
    if body:
        is_batch = isinstance(body, Body)
        headers["Content-Type"] = "application/jsonl" if is_batch else "application/json"
    if app_id is not None:
        headers["X-App-ID"] = app_id
    return Call("POST", path, headers=headers, body=body, read_timeout=read_timeout)


@dataclass(slots=True)
class Patience:
    """How often one thing is tried again: `most` times in a row without progress."""

    most: int
    #: Seconds of the longest pause before another try.
    longest: float = LONGEST_PAUSE
    used: int = 0

    def progressed(self) -> None:
        self.used = 0

    def pause_after(self, error: LongtakeError, *, within: float = math.inf) -> float:
        """Seconds to wait before the next try; raises `error` if there is none."""
        self.used += 1
        if self.used > self.most or not _may_pass(error):
            raise error
        pause = _pause(error, self.used)
        if pause > min(within, self.longest):
            raise error
        return pause


def _may_pass(error: LongtakeError) -> bool:
    """Whether the same request may succeed later; every one of ours may be sent again."""
    if isinstance(error, RateLimited | Unavailable):
        return error.type != "model_unavailable"  # until its operator sets a variable
    return isinstance(error, ConnectionFailed)


def _pause(error: LongtakeError, tries: int) -> float:
    """Retry-After and up to a tenth more, or a part of a time that doubles: clients spread."""
    asked = error.retry_after if isinstance(error, APIError) else None
    if asked is not None:
        return asked * random.uniform(1.0, 1.1) if asked < LONGEST_PAUSE else asked
    return min(_USUAL_PAUSE, _FIRST_PAUSE * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)
