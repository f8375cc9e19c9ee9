"""Webhook event types, and the body that is rendered once and sent at every try."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """The type of an event; each final state of a job or batch emits exactly one."""

    #: At least one video is stored.
    VIDEO_COMPLETED = "video.completed"
    #: The job ended without a video.
    VIDEO_FAILED = "video.failed"
    #: The owner cancelled the job.
    VIDEO_CANCELLED = "video.cancelled"
    #: All lines of a batch have ended, whatever its final status.
    BATCH_COMPLETED = "batch.completed"


def render(event_type: EventType, at: datetime, data: dict[str, Any]) -> bytes:
    """The body, `{"type","timestamp","data"}`: rendered once, stored, and sent byte for byte.

    Raises:
        ValueError: `at` is naive, or `data` contains NaN or an infinity.
        TypeError: `data` contains a value that JSON cannot represent.
    """
    if at.tzinfo is None:
        msg = "the event's time must have a time zone"
        raise ValueError(msg)
    timestamp = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    event = {"type": event_type.value, "timestamp": timestamp, "data": data}
    return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
