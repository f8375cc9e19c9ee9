"""Storage keys: made in one place, and unable to leave it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from storage.base import checked_key, video_key

AT = datetime(2026, 11, 1, 0, 30, tzinfo=UTC)


def test_a_videos_key_tells_month_job_and_output() -> None:
    assert video_key("job_1", "out_2", AT) == "videos/2026/11/job_1/out_2.mp4"


def test_the_month_is_that_of_utc_wherever_the_clock_stands() -> None:
    elsewhere = AT.astimezone(timezone(-timedelta(hours=8)))

    assert elsewhere.month == 10
    assert video_key("job_1", "out_2", elsewhere) == video_key("job_1", "out_2", AT)


@pytest.mark.parametrize(
    "id_", ["", "..", ".hidden", "a/b", "a\\b", "a b", "a%2fb", "a#1", "a\n", "ä", "a" * 200]
)
def test_an_id_that_is_no_plain_name_makes_no_key(id_: str) -> None:
    with pytest.raises(ValueError, match="not a storage key"):
        video_key(id_, "out_2", AT)


@pytest.mark.parametrize("key", ["", "/", "/etc/passwd", "a//b", "../a", "a/../b", "a/", "./a"])
def test_a_key_can_not_climb_out(key: str) -> None:
    with pytest.raises(ValueError, match="not a storage key"):
        checked_key(key)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        video_key("job_1", "out_2", AT.replace(tzinfo=None))
