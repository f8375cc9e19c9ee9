"""Limits are windows: what counts in them, when the next begins, and which one refuses."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from models.failure import RequestRefused
from models.limits import Held, Used
from models.rows.limits import LimitRow
from models.tiers import Limits, tier_limits, tiers

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def used(*, now: datetime = NOON, unfinished: int = 0, **row: Any) -> Used:
    base: dict[str, Any] = {
        "holder": "key",
        "id": "key_1",
        "tier": None,
        "concurrent": None,
        "per_minute": None,
        "per_day": None,
        "minute_at": None,
        "minute_used": 0,
        "day": None,
        "day_used": 0,
    }
    return Used(row=LimitRow(**base | row), unfinished=unfinished, now=now)


def refusal(*held: Used) -> RequestRefused:
    found = Held(held).refusal()
    assert found is not None
    return found


def test_without_a_limit_nothing_is_refused() -> None:
    assert Held().refusal() is None
    assert Held([used(unfinished=10**6, minute_used=10**6, day_used=10**6)]).refusal() is None


def test_the_last_job_is_accepted_and_one_more_is_not() -> None:
    assert Held([used(concurrent=5, unfinished=4)]).refusal() is None
    assert refusal(used(concurrent=5, unfinished=5)).code == "concurrent_limit"


def test_a_minute_begins_with_its_first_job_and_lasts_a_minute() -> None:
    began = NOON - timedelta(seconds=59)
    full = used(per_minute=2, minute_at=began, minute_used=2)
    assert refusal(full).retry_after == 1
    over = used(per_minute=2, minute_at=NOON - timedelta(seconds=60), minute_used=2)
    assert Held([over]).refusal() is None
    assert (over.minute_at, over.minute_used) == (NOON, 0)


def test_a_day_begins_at_midnight_in_utc() -> None:
    full: dict[str, Any] = {"per_day": 5, "day": date(2026, 3, 1), "day_used": 5}
    late = datetime(2026, 3, 1, 23, 59, 59, 500_000, tzinfo=UTC)
    assert refusal(used(now=late, **full)).retry_after == 1
    assert Held([used(now=late + timedelta(seconds=0.5), **full)]).refusal() is None
    # Where it is the second of March already
    tokyo = late.astimezone(tz=timezone(timedelta(hours=9)))
    assert refusal(used(now=tokyo, **full)).code == "per_day_limit"


@given(back=st.timedeltas(min_value=timedelta(), max_value=timedelta(days=3)))
def test_a_clock_that_is_set_back_forgives_nothing(back: timedelta) -> None:
    full = used(
        now=NOON - back, per_day=5, day=date(2026, 3, 1), day_used=5, per_minute=1, minute_used=1,
        minute_at=NOON,
    )  # fmt: skip
    assert (full.day_used, full.minute_used) == (5, 1)


def test_what_is_refused_by_several_limits_is_told_the_one_that_lasts_longest() -> None:
    both = used(concurrent=1, unfinished=1, per_day=5, day=NOON.date(), day_used=5)
    tenant = used(holder="tenant", id="acme", per_minute=1, minute_at=NOON, minute_used=1)
    found = refusal(both, tenant)
    assert found.type == "rate_limited"
    assert found.message == (
        "the limit per_day is reached: the key key_1 has submitted 5 jobs today, of 5 allowed a "
        "day: the next day begins at 2026-03-02 00:00:00 UTC"
    )
    assert found.retry_after == 12 * 3600
    assert found.allowance is not None
    assert (found.allowance.limit, found.allowance.remaining) == (5, 0)
    assert found.allowance.resets_at == datetime(2026, 3, 2, tzinfo=UTC)


def test_the_tiers_are_perfs() -> None:
    assert tiers() == {
        "free": Limits(concurrent=1, per_day=5),
        "pro": Limits(concurrent=5, per_day=100),
        "enterprise": Limits(),
    }


def test_an_unknown_tier_is_named_beside_those_that_there_are() -> None:
    with pytest.raises(RequestRefused, match=r"one of free, pro, enterprise \(it is 'gold'\)"):
        tier_limits("gold")
