"""What a database could only answer with an error that quotes it is no argument."""

import math

import pytest

from tasks.arguments import is_lane, is_within


@pytest.mark.parametrize("within", ["a secret", ["a secret"], {}, -1, math.nan, math.inf])
def test_what_is_no_number_of_seconds_is_no_within(within: object) -> None:
    assert not is_within(within)


@pytest.mark.parametrize("within", [0, 20, 20.5])
def test_a_number_of_seconds_is(within: object) -> None:
    assert is_within(within)


@pytest.mark.parametrize("lane", ["\ud800secret", "sec\x00ret", 5, ["a secret"]])
def test_what_is_no_plain_text_is_no_lane(lane: object) -> None:
    assert not is_lane(lane)


@pytest.mark.parametrize(
    "lane", ["runway:team", "[2001:db8::1]", "hooks.example", "bücher.example"]
)
def test_plain_text_is(lane: str) -> None:
    assert is_lane(lane)
