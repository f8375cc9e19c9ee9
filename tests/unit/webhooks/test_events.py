"""Rendering an event: the public shape, once, in exact bytes."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from webhooks.events import EventType, render

AT = datetime(2026, 11, 21, 3, 4, 5, 678901, tzinfo=UTC)


def test_an_event_has_type_timestamp_and_data() -> None:
    body = render(EventType.VIDEO_COMPLETED, AT, {"id": "job_1", "prompt": "星 über"})

    assert (
        body
        == (
            '{"type":"video.completed","timestamp":"2026-11-21T03:04:05.678901Z",'
            '"data":{"id":"job_1","prompt":"星 über"}}'
        ).encode()
    )


@pytest.mark.parametrize("event_type", EventType)
def test_every_kind_of_event_is_json_that_names_itself(event_type: EventType) -> None:
    assert json.loads(render(event_type, AT, {}))["type"] == event_type.value


def test_another_time_zone_is_the_same_instant_in_utc() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))

    assert render(EventType.VIDEO_FAILED, elsewhere, {}) == render(EventType.VIDEO_FAILED, AT, {})


def test_a_naive_time_and_a_number_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        render(EventType.VIDEO_FAILED, AT.replace(tzinfo=None), {})
    with pytest.raises(ValueError, match="JSON"):
        render(EventType.VIDEO_FAILED, AT, {"cost": float("nan")})
