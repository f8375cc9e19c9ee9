"""What a webhook says: the kinds of events, and the one rendering whose bytes every try sends."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """What an event tells; each final state makes exactly one."""

    #: At least one video is stored.
    VIDEO_COMPLETED = "video.completed"
    #: No video will come.
    VIDEO_FAILED = "video.failed"
    #: Its owner no longer wanted it.
    VIDEO_CANCELLED = "video.cancelled"
    #: Every job of a batch is final.
    BATCH_COMPLETED = "batch.completed"


def render(event_type: EventType, at: datetime, data: dict[str, Any]) -> bytes:
    """The body, `{"type","timestamp","data"}`: rendered once, stored, and sent byte for byte.

    Raises:
        ValueError: `at` is not aware, or `data` holds NaN or an infinity, which JSON can't say.
        TypeError: `data` holds something that is not JSON.
    """
    if at.tzinfo is None:
        msg = "an event's time must know its time zone"
        raise ValueError(msg)
    timestamp = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    event = {"type": event_type.value, "timestamp": timestamp, "data": data}
    return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
