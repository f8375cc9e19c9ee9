"""How long a worker is waited for, and what is told of it."""

import pytest

from settings import load
from stack.grace import (
    WORKER_GRACE,
    InFlight,
    cut_off_message,
    in_flight,
    stop_grace,
    submit_timeouts,
    waiting_message,
)

BASE = {
    "LONGTAKE_DATABASE_URL": "postgresql://127.0.0.1:9/nowhere",
    "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
}
RUNWAY = {"RUNWAYML_API_SECRET": "key_for_tests"}
FLYING = [
    InFlight(account="runway", count=2, seconds=57.6, at_risk_micros=600_000),
    InFlight(account="kling", count=1, seconds=3.0, at_risk_micros=350_000),
]


def test_a_worker_that_pays_nobody_is_waited_for_as_briefly_as_ever() -> None:
    assert stop_grace(["submit", "intake"], load(BASE)) == WORKER_GRACE
    assert stop_grace(["poll", "store"], load(BASE | RUNWAY)) == WORKER_GRACE


def test_each_account_has_its_own_time_out() -> None:
    settings = load(BASE | RUNWAY | {"PERF_API_KEY": "perf", "LAYER_API_KEY": "a"})

    assert submit_timeouts(["submit"], settings) == {"runway": 60.0, "perf": 120.0}


def test_what_is_told_names_number_place_time_and_cost() -> None:
    assert waiting_message("worker-submit", FLYING) == (
        "worker-submit: waiting up to 58 s for 3 paid requests in flight at kling, runway; press "
        "Ctrl-C again to stop now: they may be billed and end as submit_unknown"
    )
    assert cut_off_message(FLYING) == (
        "Stopped at once, with 3 paid requests in flight at kling, runway: up to $0.95 may be "
        "billed for what ends as submit_unknown (longtake reconcile list)"
    )
    assert "no paid request" in cut_off_message([])
    assert "the database is unavailable" in cut_off_message(None)


@pytest.mark.anyio
async def test_a_database_that_is_away_delays_no_stop() -> None:
    assert await in_flight(load(BASE | RUNWAY), ["submit"]) is None
    assert await in_flight(load(BASE), ["submit"]) == []
